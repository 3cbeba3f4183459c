// Command contract prints what NRI declares as its plugin protocol, one JSON object a line,
// sorted: every service, RPC, message, field and enum value of the Go module github.com/containerd/nri
// that go.mod pins. The test crates/nri/tests/contract.rs compares it with our own declaration.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"sort"

	"github.com/containerd/nri/pkg/api"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// line is one fact of the contract; its keys depend on its kind.
type line map[string]any

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "contract:", err)
		os.Exit(1)
	}
}

func run() error {
	file := api.File_pkg_api_api_proto
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
