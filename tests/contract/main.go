// Command contract prints what a protocol is to its owners, one JSON object a line, sorted: every
// service, RPC, message, field and enum value of `cri` (the Go module k8s.io/cri-api) or of `nri`
// (github.com/containerd/nri) in the version that go.mod pins. The tests beside it compare that with
// pinpod's own declarations.
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"sort"

	"github.com/containerd/nri/pkg/api"
	"google.golang.org/protobuf/reflect/protoreflect"
	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// line is one fact of the contract; its keys depend on its kind.
type line map[string]any

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "contract:", err)
		os.Exit(1)
	}
}

// protocols has the declarations by the names that this program knows them by.
var protocols = map[string]protoreflect.FileDescriptor{
	"cri": runtime.File_staging_src_k8s_io_cri_api_pkg_apis_runtime_v1_api_proto,
	"nri": api.File_pkg_api_api_proto,
}

func run() error {
	if len(os.Args) != 2 || protocols[os.Args[1]] == nil {
		return errors.New("usage: contract cri|nri")
	}
	file := protocols[os.Args[1]]
	var facts []line
	facts = append(facts, services(file.Services())...)
	facts = append(facts, messages(file.Messages())...)
	facts = append(facts, enums(file.Enums())...)

	texts := make([]string, 0, len(facts))
	for _, fact := range facts {
		text, err := json.Marshal(fact)
		if err != nil {
			return err
		}
		texts = append(texts, string(text))
	}
	sort.Strings(texts)
	out := bufio.NewWriter(os.Stdout)
	for _, text := range texts {
		if _, err := fmt.Fprintln(out, text); err != nil {
			return err
		}
	}
	return out.Flush()
}

func services(all protoreflect.ServiceDescriptors) []line {
	var facts []line
	for i := 0; i < all.Len(); i++ {
		service := all.Get(i)
		methods := service.Methods()
		for j := 0; j < methods.Len(); j++ {
			method := methods.Get(j)
			facts = append(facts, line{
				"kind":             "rpc",
				"service":          service.FullName(),
				"name":             method.Name(),
				"request":          method.Input().FullName(),
				"response":         method.Output().FullName(),
				"client_streaming": method.IsStreamingClient(),
				"server_streaming": method.IsStreamingServer(),
			})
		}
	}
	return facts
}

func messages(all protoreflect.MessageDescriptors) []line {
	var facts []line
	for i := 0; i < all.Len(); i++ {
		message := all.Get(i)
		if message.IsMapEntry() {
			continue
		}
		facts = append(facts, line{"kind": "message", "name": message.FullName()})
		fields := message.Fields()
		for j := 0; j < fields.Len(); j++ {
			facts = append(facts, fieldFact(message, fields.Get(j)))
		}
		facts = append(facts, messages(message.Messages())...)
		facts = append(facts, enums(message.Enums())...)
	}
	return facts
}

func fieldFact(message protoreflect.MessageDescriptor, field protoreflect.FieldDescriptor) line {
	fact := line{
		"kind":    "field",
		"message": message.FullName(),
		"name":    field.Name(),
		"number":  field.Number(),
	}
	switch {
	case field.IsMap():
		fact["label"] = "map"
		fact["type"] = typeOf(field.MapKey()) + "," + typeOf(field.MapValue())
	case field.IsList():
		fact["label"] = "repeated"
		fact["type"] = typeOf(field)
	case field.ContainingOneof() != nil:
		fact["label"] = "oneof " + string(field.ContainingOneof().Name())
		fact["type"] = typeOf(field)
	default:
		fact["label"] = "single"
		fact["type"] = typeOf(field)
	}
	return fact
}

// typeOf is the scalar's name in the proto language, or the full name of the message or enum.
func typeOf(field protoreflect.FieldDescriptor) string {
	switch field.Kind() {
	case protoreflect.MessageKind, protoreflect.GroupKind:
		return string(field.Message().FullName())
	case protoreflect.EnumKind:
		return string(field.Enum().FullName())
	default:
		return field.Kind().String()
	}
}

func enums(all protoreflect.EnumDescriptors) []line {
	var facts []line
	for i := 0; i < all.Len(); i++ {
		enum := all.Get(i)
		values := enum.Values()
		for j := 0; j < values.Len(); j++ {
			value := values.Get(j)
			facts = append(facts, line{
				"kind":   "enum_value",
				"enum":   enum.FullName(),
				"name":   value.Name(),
				"number": value.Number(),
			})
		}
	}
	return facts
}
