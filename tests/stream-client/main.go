// Command stream-client is a client of the URLs that CRI's Exec, Attach and PortForward answer, made
// of Kubernetes' own library: what kubectl and the kubelet speak. Root tests run it; scripts/tools
// builds it.
//
//	stream-client exec [flags] URL...          one command for each URL, at the same time
//	stream-client portforward [flags] URL LOCAL:REMOTE...
//
// exec ends with the exit code of the remote command; with several URLs it prints a line for each:
// its number, exit code, bytes and SHA-256 of what came. portforward prints its ports, and ends when
// its stdin does.
package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/portforward"
	"k8s.io/client-go/tools/remotecommand"
	"k8s.io/client-go/transport/spdy"
	"k8s.io/client-go/util/exec"
	"k8s.io/streaming/pkg/httpstream"
)

// failed is the exit code when the stream, not the command, failed.
const failed = 111

type options struct {
	transport string
	protocols string
	tls       rest.TLSClientConfig
	stdin     bool
	stdout    bool
	stderr    bool
	tty       bool
	sizes     string
}

func main() {
	if len(os.Args) < 2 {
		fail(errors.New("exec or portforward?"))
	}
	var o options
	flags := flag.NewFlagSet(os.Args[1], flag.ExitOnError)
	flags.StringVar(&o.transport, "transport", "spdy", "spdy or websocket")
	flags.StringVar(&o.protocols, "protocols", "", "versions to offer, with commas; empty: the library's")
	flags.StringVar(&o.tls.CAFile, "ca", "", "who signs the server's certificate; empty: not looked at")
	flags.StringVar(&o.tls.CertFile, "cert", "", "certificate to show")
	flags.StringVar(&o.tls.KeyFile, "key", "", "its key")
	flags.BoolVar(&o.stdin, "stdin", false, "pass stdin on")
	flags.BoolVar(&o.stdout, "stdout", true, "ask for stdout")
	flags.BoolVar(&o.stderr, "stderr", false, "ask for stderr")
	flags.BoolVar(&o.tty, "tty", false, "the other side has a terminal")
	flags.StringVar(&o.sizes, "sizes", "", "sizes of the terminal as 80x24,..., one after the other")
	if err := flags.Parse(os.Args[2:]); err != nil {
		fail(err)
	}
	switch os.Args[1] {
	case "exec":
		os.Exit(o.execAll(flags.Args()))
	case "portforward":
		if err := o.forward(flags.Args()); err != nil {
			fail(err)
		}
	default:
		fail(fmt.Errorf("what is %s?", os.Args[1]))
	}
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "stream-client:", err)
	os.Exit(failed)
}

func (o options) config() *rest.Config {
	config := &rest.Config{TLSClientConfig: o.tls}
	config.Insecure = o.tls.CAFile == ""
	return config
}

func (o options) execAll(urls []string) int {
	if len(urls) == 1 {
		return report(o.exec(urls[0], os.Stdin, os.Stdout, os.Stderr))
	}
	input, err := o.input()
	if err != nil {
		fail(err)
	}
	lines := make([]string, len(urls))
	var all sync.WaitGroup
	for number, address := range urls {
		all.Add(1)
		go func() {
			defer all.Done()
			came := &counter{hash: sha256.New()}
			code := report(o.exec(address, bytes.NewReader(input), came, io.Discard))
			lines[number] = fmt.Sprintf("%d %d %d %x", number, code, came.bytes, came.hash.Sum(nil))
		}()
	}
	all.Wait()
	fmt.Println(strings.Join(lines, "\n"))
	return 0
}

// input is what every one of several commands gets.
func (o options) input() ([]byte, error) {
	if !o.stdin {
		return nil, nil
	}
	return io.ReadAll(os.Stdin)
}

type counter struct {
	hash interface {
		io.Writer
		Sum([]byte) []byte
	}
	bytes int64
}

func (c *counter) Write(p []byte) (int, error) {
	c.bytes += int64(len(p))
	return c.hash.Write(p)
}

// report turns the end of a command into an exit code.
func report(err error) int {
	var exit exec.CodeExitError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &exit):
		return exit.Code
	default:
		fmt.Fprintln(os.Stderr, "stream-client:", err)
		return failed
	}
}

func (o options) exec(address string, stdin io.Reader, stdout, stderr io.Writer) error {
	executor, err := o.executor(address)
	if err != nil {
		return err
	}
	stream := remotecommand.StreamOptions{Tty: o.tty}
	if o.stdin {
		stream.Stdin = stdin
	}
	if o.stdout {
		stream.Stdout = stdout
	}
	if o.stderr {
		stream.Stderr = stderr
	}
	if o.sizes != "" {
		seen := make(chan struct{}, 1)
		stream.Stdout = watched{stdout, seen}
		stream.TerminalSizeQueue = &sizes{left: strings.Split(o.sizes, ","), seen: seen}
	}
	return executor.StreamWithContext(context.Background(), stream)
}

func (o options) executor(address string) (remotecommand.Executor, error) {
	parsed, err := url.Parse(address)
	if err != nil {
		return nil, err
	}
	var protocols []string
	if o.protocols != "" {
		protocols = strings.Split(o.protocols, ",")
	}
	switch {
	case o.transport == "websocket" && protocols == nil:
		return remotecommand.NewWebSocketExecutor(o.config(), http.MethodGet, address)
	case o.transport == "websocket":
		return remotecommand.NewWebSocketExecutorForProtocols(o.config(), http.MethodGet, address, protocols...)
	case protocols == nil:
		return remotecommand.NewSPDYExecutor(o.config(), http.MethodPost, parsed)
	default:
		transport, upgrader, err := spdy.RoundTripperFor(o.config())
		if err != nil {
			return nil, err
		}
		return remotecommand.NewSPDYExecutorForProtocols(transport, upgrader, http.MethodPost, parsed, protocols...)
	}
}

// watched tells when something was written.
type watched struct {
	io.Writer
	seen chan<- struct{}
}

func (w watched) Write(p []byte) (int, error) {
	// A WebSocket begins with an empty message on each channel.
	if len(p) > 0 {
		select {
		case w.seen <- struct{}{}:
		default:
		}
	}
	return w.Writer.Write(p)
}

// sizes gives the first size at once, and each other when the process has written something: it has
// seen the one before, however slow its start.
type sizes struct {
	left  []string
	seen  <-chan struct{}
	begun bool
}

func (s *sizes) Next() *remotecommand.TerminalSize {
	if len(s.left) == 0 {
		return nil
	}
	if s.begun {
		<-s.seen
	}
	s.begun = true
	var size remotecommand.TerminalSize
	if _, err := fmt.Sscanf(s.left[0], "%dx%d", &size.Width, &size.Height); err != nil {
		fail(err)
	}
	s.left = s.left[1:]
	return &size
}

func (o options) forward(args []string) error {
	if len(args) < 2 {
		return errors.New("no ports")
	}
	dialer, err := o.dialer(args[0])
	if err != nil {
		return err
	}
	ready, stop := make(chan struct{}), make(chan struct{})
	forwarder, err := portforward.NewForStreaming(dialer, args[1:], stop, ready, io.Discard, os.Stderr)
	if err != nil {
		return err
	}
	go func() {
		<-ready
		ports, err := forwarder.GetPorts()
		if err != nil {
			fail(err)
		}
		for _, port := range ports {
			fmt.Println(port.Local, port.Remote)
		}
		io.Copy(io.Discard, os.Stdin)
		close(stop)
	}()
	return forwarder.ForwardPorts()
}

func (o options) dialer(address string) (httpstream.Dialer, error) {
	parsed, err := url.Parse(address)
	if err != nil {
		return nil, err
	}
	if o.transport == "websocket" {
		return portforward.NewSPDYOverWebsocketDialerForStreaming(parsed, o.config())
	}
	transport, upgrader, err := spdy.RoundTripperFor(o.config())
	if err != nil {
		return nil, err
	}
	client := &http.Client{Transport: transport}
	return spdy.NewDialerForStreaming(upgrader, client, http.MethodPost, parsed), nil
}
