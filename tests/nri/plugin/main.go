// Command plugin is an NRI plugin that does what a test says: it notes every event in a file, and
// adjusts, updates, refuses, hangs or dies as its configuration has it. It is built on NRI's own stub.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"slices"
	"sort"
	"strings"
	"sync"
	"time"

	"github.com/containerd/nri/pkg/api"
	"github.com/containerd/nri/pkg/stub"
	"google.golang.org/protobuf/encoding/protojson"
)

// behaviour is the configuration, in JSON. In updates, "@name" stands for the identifier of the
// container of that name.
type behaviour struct {
	// Log is the file that events are noted in, one JSON object a line.
	Log string
	// Events is the subscription; empty means all.
	Events string
	// Fail has the error to return, by event.
	Fail map[string]string
	// Hang has the events that are never answered, Die those that end the plugin.
	Hang, Die []string
	// Adjust has adjustments by the name of the container.
	Adjust map[string]json.RawMessage
	// Update has updates of containers by event.
	Update map[string][]json.RawMessage
	// FailRequest and KeepConnected are the failure policy.
	FailRequest, KeepConnected bool
	// Sign is noted with each event.
	Sign string
	// Reject is the verdict on adjustments.
	Reject string
}

// note is a line of the log.
type note struct {
	Event      string   `json:"event"`
	Pod        string   `json:"pod,omitempty"`
	Container  string   `json:"container,omitempty"`
	State      string   `json:"state,omitempty"`
	Detail     string   `json:"detail,omitempty"`
	Pods       []string `json:"pods,omitempty"`
	Containers []string `json:"containers,omitempty"`
}

type plugin struct {
	sync.Mutex
	behaviour
	ids  map[string]string
	stub stub.Stub
}

func main() {
	name := flag.String("name", "", "name of the plugin")
	index := flag.String("idx", "", "its index")
	socket := flag.String("socket", api.DefaultSocketPath, "socket of the runtime")
	config := flag.String("config", "", "its configuration, in JSON")
	again := flag.Bool("reconnect", false, "connect again when the connection ends")
	flag.Parse()
	p := &plugin{ids: map[string]string{}}
	if *config != "" {
		if err := json.Unmarshal([]byte(*config), &p.behaviour); err != nil {
			fail(err)
		}
	}
	go p.obey()
	for {
		err := p.run(*name, *index, *socket)
		p.write(note{Event: "Closed"})
		if !*again {
			if err != nil {
				fail(err)
			}
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "plugin:", err)
	os.Exit(1)
}

func (p *plugin) run(name, index, socket string) error {
	closed := make(chan struct{})
	options := []stub.Option{
		stub.WithSocketPath(socket),
		stub.WithOnClose(func() { close(closed) }),
		stub.WithFailurePolicy(&api.FailurePolicy{
			FailRequest:   p.FailRequest,
			KeepConnected: p.KeepConnected,
		}),
	}
	if name != "" {
		options = append(options, stub.WithPluginName(name), stub.WithPluginIdx(index))
	}
	s, err := stub.New(p, options...)
	if err != nil {
		return err
	}
	if err := s.Start(context.Background()); err != nil {
		return err
	}
	p.Lock()
	p.stub = s
	p.Unlock()
	<-closed
	return nil
}

// obey reads updates from stdin, one a line, and asks the runtime for them.
func (p *plugin) obey() {
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		update, err := p.update(lines.Bytes())
		if err != nil {
			fail(err)
		}
		p.Lock()
		s := p.stub
		p.Unlock()
		failed, err := s.UpdateContainers([]*api.ContainerUpdate{update})
		done := note{Event: "UpdateContainers", Detail: fmt.Sprintf("%d failed", len(failed))}
		if err != nil {
			done.Detail = err.Error()
		}
		p.write(done)
	}
}

func (p *plugin) update(text []byte) (*api.ContainerUpdate, error) {
	update := &api.ContainerUpdate{}
	if err := protojson.Unmarshal(text, update); err != nil {
		return nil, err
	}
	if name, marked := strings.CutPrefix(update.ContainerId, "@"); marked {
		p.Lock()
		update.ContainerId = p.ids[name]
		p.Unlock()
	}
	return update, nil
}

func (p *plugin) updates(event string) ([]*api.ContainerUpdate, error) {
	var all []*api.ContainerUpdate
	for _, text := range p.Update[event] {
		update, err := p.update(text)
		if err != nil {
			return nil, err
		}
		all = append(all, update)
	}
	return all, nil
}

func (p *plugin) write(n note) {
	if p.Log == "" {
		return
	}
	text, err := json.Marshal(n)
	if err != nil {
		fail(err)
	}
	file, err := os.OpenFile(p.Log, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		fail(err)
	}
	defer file.Close()
	if _, err := file.Write(append(text, '\n')); err != nil {
		fail(err)
	}
}

// on notes an event and does what the configuration says about it.
func (p *plugin) on(event string, pod *api.PodSandbox, ctr *api.Container) error {
	n := note{Event: event, Pod: pod.GetName(), Detail: p.Sign}
	if ctr != nil {
		n.Container = ctr.GetName()
		n.State = strings.TrimPrefix(ctr.GetState().String(), "CONTAINER_")
		p.Lock()
		p.ids[ctr.GetName()] = ctr.GetId()
		p.Unlock()
	}
	p.write(n)
	if slices.Contains(p.Die, event) {
		os.Exit(3)
	}
	if slices.Contains(p.Hang, event) {
		time.Sleep(time.Hour)
	}
	if text, ok := p.Fail[event]; ok {
		return errors.New(text)
	}
	return nil
}

func (p *plugin) Configure(_ context.Context, config, runtime, version string) (api.EventMask, error) {
	if config != "" {
		if err := json.Unmarshal([]byte(config), &p.behaviour); err != nil {
			return 0, err
		}
	}
	p.write(note{Event: "Configure", Detail: runtime + " " + version})
	if p.Events == "" {
		return api.ValidEvents, nil
	}
	return api.ParseEventMask(p.Events)
}

func (p *plugin) Synchronize(_ context.Context, pods []*api.PodSandbox, ctrs []*api.Container) ([]*api.ContainerUpdate, error) {
	n := note{Event: "Synchronize"}
	for _, pod := range pods {
		n.Pods = append(n.Pods, pod.GetName())
	}
	for _, ctr := range ctrs {
		state := strings.TrimPrefix(ctr.GetState().String(), "CONTAINER_")
		n.Containers = append(n.Containers, ctr.GetName()+" "+state)
		p.Lock()
		p.ids[ctr.GetName()] = ctr.GetId()
		p.Unlock()
	}
	sort.Strings(n.Pods)
	sort.Strings(n.Containers)
	p.write(n)
	if slices.Contains(p.Hang, "Synchronize") {
		time.Sleep(time.Hour)
	}
	return p.updates("Synchronize")
}

func (p *plugin) Shutdown(context.Context) {
	p.write(note{Event: "Shutdown"})
}

func (p *plugin) RunPodSandbox(_ context.Context, pod *api.PodSandbox) error {
	return p.on("RunPodSandbox", pod, nil)
}

func (p *plugin) UpdatePodSandbox(_ context.Context, pod *api.PodSandbox, overhead, res *api.LinuxResources) error {
	return p.on("UpdatePodSandbox", pod, nil)
}

func (p *plugin) PostUpdatePodSandbox(_ context.Context, pod *api.PodSandbox) error {
	return p.on("PostUpdatePodSandbox", pod, nil)
}

func (p *plugin) StopPodSandbox(_ context.Context, pod *api.PodSandbox) error {
	return p.on("StopPodSandbox", pod, nil)
}

func (p *plugin) RemovePodSandbox(_ context.Context, pod *api.PodSandbox) error {
	return p.on("RemovePodSandbox", pod, nil)
}

func (p *plugin) CreateContainer(_ context.Context, pod *api.PodSandbox, ctr *api.Container) (*api.ContainerAdjustment, []*api.ContainerUpdate, error) {
	if err := p.on("CreateContainer", pod, ctr); err != nil {
		return nil, nil, err
	}
	updates, err := p.updates("CreateContainer")
	if err != nil {
		return nil, nil, err
	}
	text, ok := p.Adjust[ctr.GetName()]
	if !ok {
		return nil, updates, nil
	}
	adjust := &api.ContainerAdjustment{}
	return adjust, updates, protojson.Unmarshal(text, adjust)
}

func (p *plugin) PostCreateContainer(_ context.Context, pod *api.PodSandbox, ctr *api.Container) error {
	return p.on("PostCreateContainer", pod, ctr)
}

func (p *plugin) StartContainer(_ context.Context, pod *api.PodSandbox, ctr *api.Container) error {
	return p.on("StartContainer", pod, ctr)
}

func (p *plugin) PostStartContainer(_ context.Context, pod *api.PodSandbox, ctr *api.Container) error {
	return p.on("PostStartContainer", pod, ctr)
}

func (p *plugin) UpdateContainer(_ context.Context, pod *api.PodSandbox, ctr *api.Container, _ *api.LinuxResources) ([]*api.ContainerUpdate, error) {
	if err := p.on("UpdateContainer", pod, ctr); err != nil {
		return nil, err
	}
	return p.updates("UpdateContainer")
}

func (p *plugin) PostUpdateContainer(_ context.Context, pod *api.PodSandbox, ctr *api.Container) error {
	return p.on("PostUpdateContainer", pod, ctr)
}

func (p *plugin) StopContainer(_ context.Context, pod *api.PodSandbox, ctr *api.Container) ([]*api.ContainerUpdate, error) {
	if err := p.on("StopContainer", pod, ctr); err != nil {
		return nil, err
	}
	return p.updates("StopContainer")
}

func (p *plugin) RemoveContainer(_ context.Context, pod *api.PodSandbox, ctr *api.Container) error {
	return p.on("RemoveContainer", pod, ctr)
}

func (p *plugin) ValidateContainerAdjustment(_ context.Context, req *api.ValidateContainerAdjustmentRequest) error {
	if p.Reject != "" {
		return errors.New(p.Reject)
	}
	return nil
}
