//! Compares whole protocols, both ways, with the Go modules of their owners: `main.go` prints one JSON
//! object for each RPC, message, field and enum value.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking, in its helper functions too"
)]

use std::collections::BTreeSet;

use prost::Message as _;
use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{
    DescriptorProto, EnumDescriptorProto, FieldDescriptorProto, FileDescriptorSet,
    ServiceDescriptorProto,
};
use serde_json::json;

#[test]
fn cri_is_that_of_the_kubelet() {
    compare(
        "cri",
        "runtime.v1",
        pinpod_cri_api::FILE_DESCRIPTOR_SET,
        700,
    );
}

#[test]
fn nri_is_that_of_its_plugins() {
    let ours = pinpod_nri::FILE_DESCRIPTOR_SET;
    compare("nri", "nri.pkg.api.v1alpha1", ours, 450);
}

/// `at_least` facts must come from Go, so that nothing is not taken for agreement.
fn compare(protocol: &str, package: &str, descriptors: &[u8], at_least: usize) {
    let ours = our_facts(package, descriptors);
    let theirs = their_facts(protocol);
    let count = theirs.len();
    assert!(count > at_least, "only {count} facts from Go");

    let missing: Vec<_> = theirs.difference(&ours).collect();
    let extra: Vec<_> = ours.difference(&theirs).collect();
    assert!(
        missing.is_empty() && extra.is_empty(),
        "missing here: {missing:#?}\nonly here: {extra:#?}"
    );
}

#[allow(
    clippy::disallowed_methods,
    reason = "a test runs the Go tool; no daemon code is involved"
)]
fn their_facts(protocol: &str) -> BTreeSet<String> {
    let output = std::process::Command::new("go")
        .args(["run", ".", protocol])
        .env("GOFLAGS", "-mod=readonly")
        .current_dir(std::env::var_os("CARGO_MANIFEST_DIR").unwrap())
        .output()
        .expect("this test needs the Go toolchain (`go`) in PATH");
    assert!(
        output.status.success(),
        "`go run . {protocol}` in tests/contract: {}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines()
        .map(|line| {
            let fact: serde_json::Value = serde_json::from_str(line).unwrap();
            fact.to_string()
        })
        .collect()
}

fn our_facts(package: &str, descriptors: &[u8]) -> BTreeSet<String> {
    let set = FileDescriptorSet::decode(descriptors).unwrap();
    let mut facts = BTreeSet::new();
    for file in &set.file {
        assert_eq!(file.package(), package, "{}", file.name());
        for service in &file.service {
            service_facts(package, service, &mut facts);
        }
        for message in &file.message_type {
            message_facts(package, message, &mut facts);
        }
        for declared in &file.enum_type {
            enum_facts(package, declared, &mut facts);
        }
    }
    facts
}

fn service_facts(package: &str, service: &ServiceDescriptorProto, facts: &mut BTreeSet<String>) {
    for method in &service.method {
        let fact = json!({
            "kind": "rpc",
            "service": format!("{package}.{}", service.name()),
            "name": method.name(),
            "request": bare(method.input_type()),
            "response": bare(method.output_type()),
            "client_streaming": method.client_streaming(),
            "server_streaming": method.server_streaming(),
        });
        facts.insert(fact.to_string());
    }
}

fn message_facts(scope: &str, message: &DescriptorProto, facts: &mut BTreeSet<String>) {
    let name = format!("{scope}.{}", message.name());
    facts.insert(json!({"kind": "message", "name": name}).to_string());
    for field in &message.field {
        let (label, type_) = label_and_type(&name, message, field);
        let fact = json!({
            "kind": "field",
            "message": name,
            "name": field.name(),
            "number": field.number(),
            "label": label,
            "type": type_,
        });
        facts.insert(fact.to_string());
    }
    for nested in message.nested_type.iter().filter(|nested| !is_map(nested)) {
        message_facts(&name, nested, facts);
    }
    for declared in &message.enum_type {
        enum_facts(&name, declared, facts);
    }
}

fn enum_facts(scope: &str, declared: &EnumDescriptorProto, facts: &mut BTreeSet<String>) {
    for value in &declared.value {
        let fact = json!({
            "kind": "enum_value",
            "enum": format!("{scope}.{}", declared.name()),
            "name": value.name(),
            "number": value.number(),
        });
        facts.insert(fact.to_string());
    }
}

fn is_map(message: &DescriptorProto) -> bool {
    message
        .options
        .as_ref()
        .is_some_and(|options| options.map_entry())
}

fn label_and_type(
    name: &str,
    message: &DescriptorProto,
    field: &FieldDescriptorProto,
) -> (String, String) {
    let entry = message.nested_type.iter().find(|nested| {
        is_map(nested) && bare(field.type_name()) == format!("{name}.{}", nested.name())
    });
    if let Some(entry) = entry {
        let types: Vec<_> = entry.field.iter().map(type_of).collect();
        return ("map".into(), types.join(","));
    }
    let label = match (field.label(), field.oneof_index) {
        (Label::Repeated, _) => "repeated".into(),
        (_, Some(index)) => format!("oneof {index}"),
        _ => "single".into(),
    };
    (label, type_of(field))
}

fn type_of(field: &FieldDescriptorProto) -> String {
    match field.r#type() {
        Type::Message | Type::Enum => bare(field.type_name()).to_owned(),
        scalar => scalar
            .as_str_name()
            .trim_start_matches("TYPE_")
            .to_lowercase(),
    }
}

fn bare(type_name: &str) -> &str {
    type_name.trim_start_matches('.')
}
