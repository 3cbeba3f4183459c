// Command kubelet-client streams through a kubelet's own HTTP API with the client that kubectl is
// made of, without an API server between them.
//
//	kubelet-client [--protocol spdy|websocket] [--tty] [--stdin] stream URL
//	kubelet-client [--protocol spdy|websocket] forward URL LOCAL:REMOTE…
//	kubelet-client get URL
//
// stream is for /exec and /attach; the URL's query says what the kubelet shall attach. It ends with
// the exit code of the remote command. forward prints a line when it listens, and goes on until it
// is killed. get prints what is there, for machines without a curl.
package main

import (
	"context"
	"crypto/tls"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"time"

	"k8s.io/apimachinery/pkg/util/httpstream"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/portforward"
	"k8s.io/client-go/tools/remotecommand"
	"k8s.io/client-go/transport/spdy"
	"k8s.io/client-go/util/exec"
)

var (
	protocol = flag.String("protocol", "spdy", "spdy or websocket")
	tty      = flag.Bool("tty", false, "the remote end has a terminal, of 120 columns and 40 rows")
	stdin    = flag.Bool("stdin", false, "send what comes on stdin")
)

func main() {
	flag.Parse()
	if flag.NArg() < 2 {
		flag.Usage()
		os.Exit(125)
	}
	target, err := url.Parse(flag.Arg(1))
	if err == nil {
		// The kubelet makes its certificate itself.
		config := &rest.Config{Host: target.Host, TLSClientConfig: rest.TLSClientConfig{Insecure: true}}
		switch flag.Arg(0) {
		case "stream":
			err = stream(config, target)
		case "forward":
			err = forward(config, target, flag.Args()[2:])
		case "get":
			err = get(target)
		default:
			err = fmt.Errorf("unknown verb %q", flag.Arg(0))
		}
	}
	var code exec.CodeExitError
	if errors.As(err, &code) {
		os.Exit(code.Code)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "kubelet-client:", err)
		os.Exit(125)
	}
}

func get(target *url.URL) error {
	// The kubelet makes its certificate itself.
	transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
	response, err := (&http.Client{Transport: transport, Timeout: time.Minute}).Get(target.String())
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if _, err = io.Copy(os.Stdout, response.Body); err == nil && response.StatusCode >= 400 {
		err = errors.New(response.Status)
	}
	return err
}

func stream(config *rest.Config, target *url.URL) error {
	executor, err := newExecutor(config, target)
	if err != nil {
		return err
	}
	options := remotecommand.StreamOptions{Stdout: os.Stdout, Tty: *tty}
	if *stdin {
		options.Stdin = os.Stdin
	}
	if *tty {
		options.TerminalSizeQueue = &oneSize{}
	} else {
		options.Stderr = os.Stderr
	}
	return executor.StreamWithContext(context.Background(), options)
}

func newExecutor(config *rest.Config, target *url.URL) (remotecommand.Executor, error) {
	switch *protocol {
	case "spdy":
		return remotecommand.NewSPDYExecutor(config, http.MethodPost, target)
	case "websocket":
		return remotecommand.NewWebSocketExecutor(config, http.MethodGet, target.String())
	}
	return nil, fmt.Errorf("unknown protocol %q", *protocol)
}

// oneSize tells the remote terminal its size once.
type oneSize struct{ told bool }

func (s *oneSize) Next() *remotecommand.TerminalSize {
	if s.told {
		return nil
	}
	s.told = true
	return &remotecommand.TerminalSize{Width: 120, Height: 40}
}

func forward(config *rest.Config, target *url.URL, ports []string) error {
	dialer, err := newDialer(config, target)
	if err != nil {
		return err
	}
	forwarder, err := portforward.New(dialer, ports, nil, make(chan struct{}), os.Stdout, os.Stderr)
	if err != nil {
		return err
	}
	return forwarder.ForwardPorts()
}

func newDialer(config *rest.Config, target *url.URL) (httpstream.Dialer, error) {
	switch *protocol {
	case "spdy":
		transport, upgrader, err := spdy.RoundTripperFor(config)
		if err != nil {
			return nil, err
		}
		return spdy.NewDialer(upgrader, &http.Client{Transport: transport}, http.MethodPost, target), nil
	case "websocket":
		return portforward.NewSPDYOverWebsocketDialer(target, config)
	}
	return nil, fmt.Errorf("unknown protocol %q", *protocol)
}
