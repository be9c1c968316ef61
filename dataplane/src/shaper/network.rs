//! LibreQoS's `network.json`: nodes within nodes.
//!
//! ```text
//! { "Tower": { "downloadBandwidthMbps": 1000, "uploadBandwidthMbps": 500.5, "type": "site", "id": "t1", "virtual": false,
//!              "children": { "AP": { … } } } }
//! ```
//! `{}` is a network without nodes. Keys that are not named here are of no concern to weir and left alone.

use std::ops::Range;

use jsonc_parser::{
    CollectOptions, ParseOptions,
    ast::{Object, ObjectProp, Value},
    common::Ranged,
};

use super::{
    Both, Report,
    rates::{self, rate_problem},
    report::Warnings,
    tree::{Above, Draft},
};
use crate::config::nearest;

const DOWN: &str = "downloadBandwidthMbps";
const UP: &str = "uploadBandwidthMbps";
const KEYS: [&str; 6] = [DOWN, UP, "type", "id", "virtual", "children"];

/// JSON as RFC 8259 has it.
const STRICT: ParseOptions = ParseOptions {
    allow_comments: false,
    allow_loose_object_property_names: false,
    allow_trailing_commas: false,
    allow_missing_commas: false,
    allow_single_quoted_strings: false,
    allow_hexadecimal_numbers: false,
    allow_unary_plus_numbers: false,
    allow_bare_decimal_point_numbers: false,
    allow_non_finite_numbers: false,
    allow_extended_string_escapes: false,
};

/// Reads the nodes of the file of report `source`.
pub(super) fn read(report: &mut Report<'_>, source: usize, drafts: &mut Vec<Draft>, warnings: &mut Warnings) {
    const FIX: &str = "write `{}` for a network without nodes, or `{ \"NAME\": { \"downloadBandwidthMbps\": 1000, \"uploadBandwidthMbps\": 1000 } }`";
    match jsonc_parser::parse_to_ast(report.text(), &CollectOptions::default(), &STRICT) {
        Err(error) => {
            let what = error.kind().to_string();
            // Said in the middle of a line here.
            let mut letters = what.chars();
            let what: String =
                letters.next().into_iter().flat_map(char::to_lowercase).chain(letters).collect();
            let fix = "write it as JSON: names and texts in double quotes, commas between entries and none behind the last";
            report.wrong(span(&error.range()), format!("this is not JSON: {what}"), fix);
        }
        Ok(parsed) => match parsed.value {
            Some(Value::Object(object)) => {
                Reader { report, source, drafts, warnings }.nodes(&object, None);
            }
            other => {
                let at = other.map_or(0..0, |value| span(&value));
                report.wrong(at, "this is not an object of nodes", FIX);
            }
        },
    }
}

struct Reader<'r, 't> {
    report: &'r mut Report<'t>,
    source: usize,
    drafts: &'r mut Vec<Draft>,
    warnings: &'r mut Warnings,
}

impl Reader<'_, '_> {
    /// Goes as deep as the parser, which allows 512 levels.
    fn nodes(&mut self, object: &Object<'_>, parent: Option<usize>) {
        for property in &object.properties {
            let name = property.name.as_str();
            let Value::Object(node) = &property.value else {
                let what = format!("`{}` is not a node", name.escape_debug());
                self.report.wrong(
                    span(&property.value),
                    what,
                    "write `{ \"downloadBandwidthMbps\": …, \"uploadBandwidthMbps\": … }`",
                );
                continue;
            };
            if name.trim().is_empty() {
                self.report.wrong(span(&property.name), "a node without a name", "give it one");
            }
            let at = self.drafts.len();
            let draft = self.node(property, name, node, parent);
            self.drafts.push(draft);
            match find(node, "children").map(|property| &property.value) {
                None | Some(Value::NullKeyword(_)) => {}
                Some(Value::Object(children)) => self.nodes(children, Some(at)),
                Some(other) => self.report.wrong(
                    span(other),
                    "`children` is not an object of nodes",
                    "write `{}`, or leave it out",
                ),
            }
        }
    }

    fn node(
        &mut self,
        property: &ObjectProp<'_>,
        name: &str,
        node: &Object<'_>,
        parent: Option<usize>,
    ) -> Draft {
        for (at, key) in node.properties.iter().enumerate() {
            let text = key.name.as_str();
            if KEYS.contains(&text) && node.properties[..at].iter().any(|it| it.name.as_str() == text) {
                self.report.wrong(span(&key.name), format!("`{text}` stands twice"), "write it once");
            }
        }
        let is_virtual = match find(node, "virtual").map(|property| &property.value) {
            None | Some(Value::NullKeyword(_)) => false,
            Some(Value::BooleanLit(it)) => it.value,
            Some(other) => {
                self.report.wrong(
                    span(other),
                    "`virtual` is neither true nor false",
                    "write `true`, or leave it out",
                );
                false
            }
        };
        let max =
            Both { down: self.rate(name, node, DOWN, is_virtual), up: self.rate(name, node, UP, is_virtual) };
        Draft {
            name: name.to_owned(),
            id: self.text(node, "id").filter(|id| !id.is_empty()),
            above: parent.map_or(Above::Link, Above::Draft),
            max,
            min: Both::default(),
            weight: None,
            is_virtual,
            kind: self.text(node, "type").unwrap_or_default(),
            source: self.source,
            span: span(&property.name),
        }
    }

    /// A text, or a number as one.
    fn text(&mut self, node: &Object<'_>, key: &str) -> Option<String> {
        match &find(node, key)?.value {
            Value::StringLit(text) => Some(text.value.trim().to_owned()),
            Value::NumberLit(number) => Some(number.value.to_owned()),
            Value::NullKeyword(_) => None,
            other => {
                self.report.wrong(span(other), format!("`{key}` is not a text"), "write it in double quotes");
                None
            }
        }
    }

    /// A rate; `None`: what the parent has, which is also what LibreQoS takes where there is none or 0.
    fn rate(&mut self, name: &str, node: &Object<'_>, key: &str, is_virtual: bool) -> Option<u64> {
        const FIX: &str = "write a number of Mbit/s, such as 1000 or 2.5";
        let rate = match find(node, key).map(|property| &property.value) {
            None | Some(Value::NullKeyword(_)) => None,
            Some(value @ (Value::NumberLit(_) | Value::StringLit(_))) => {
                let text = match value {
                    Value::NumberLit(number) => number.value,
                    Value::StringLit(text) => text.value.as_ref(),
                    _ => "",
                };
                match rates::megabits(text) {
                    None => {
                        self.report.wrong(span(value), format!("`{key}` is not a rate"), FIX);
                        return None;
                    }
                    Some(0) => None,
                    Some(_) if is_virtual => return None,
                    Some(rate) => {
                        if let Some(what) = rate_problem(rate) {
                            self.report.wrong(span(value), what, FIX);
                        }
                        Some(rate)
                    }
                }
            }
            Some(other) => {
                self.report.wrong(span(other), format!("`{key}` is not a rate"), FIX);
                return None;
            }
        };
        if rate.is_none() && !is_virtual {
            let unknown =
                node.properties.iter().map(|key| key.name.as_str()).filter(|key| !KEYS.contains(key));
            let unknown: Vec<&str> = unknown.collect();
            self.warnings.say("nodes without a rate", || {
                let meant =
                    nearest(key, &unknown).map_or(String::new(), |near| format!(" (`{near}` is not one)"));
                format!("node `{name}` has no `{key}`{meant}: it may send as much as what it hangs on")
            });
        }
        rate
    }
}

fn find<'o, 't>(object: &'o Object<'t>, key: &str) -> Option<&'o ObjectProp<'t>> {
    object.properties.iter().find(|property| property.name.as_str() == key)
}

fn span(ranged: &impl Ranged) -> Range<usize> {
    let range = ranged.range();
    range.start..range.end
}
