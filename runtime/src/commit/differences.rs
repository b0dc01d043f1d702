//! Compares two receipts with the same id: the receipts go in; a description of their differences for people comes out.

use crate::receipt::{InputPart, Receipt, StepPart};

/// Describes for people how two receipts with the same id differ. A difference that only follows from another
/// difference, such as different bytes of the output, is left out.
pub(super) fn differences(existing: &Receipt, own: &Receipt) -> String {
    let mut text = Vec::new();
    let queue = |receipt: &Receipt| receipt.request.queue.clone().unwrap_or_else(|| "none".into());
    differ(&mut text, "id", &existing.request.id, &own.request.id);
    differ(&mut text, "queue", &queue(existing), &queue(own));
    differing_inputs(&existing.inputs, &own.inputs, &mut text);
    differing_steps(existing, own, &mut text);
    text.extend(differing_options(existing, own));
    if text.is_empty() && existing.host != own.host {
        text.push(format!(
            "it was made by version {} of this program",
            existing.host
        ));
    }
    if text.is_empty() {
        text.push("its output has other bytes".to_owned());
    }
    text.join("; ")
}

fn differ(text: &mut Vec<String>, name: &str, was: &str, is: &str) {
    if was != is {
        text.push(format!("the {name} was {was} and is {is}"));
    }
}

fn differing_inputs(existing: &[InputPart], own: &[InputPart], text: &mut Vec<String>) {
    let (was, is) = (existing.len().to_string(), own.len().to_string());
    differ(text, "number of inputs", &was, &is);
    let others = existing
        .iter()
        .zip(own)
        .filter(|(was, is)| was.sha256 != is.sha256);
    for (was, is) in others {
        differ(text, "input", &was.uri, &is.uri);
        if was.uri == is.uri {
            text.push(format!("the input {} has other bytes than it had", is.uri));
        }
    }
}

fn differing_steps(existing: &Receipt, own: &Receipt, text: &mut Vec<String>) {
    let components = |receipt: &Receipt| -> Vec<_> {
        let steps = receipt.steps.iter();
        steps.map(|step| step.plugin.sha256.clone()).collect()
    };
    if components(existing) != components(own) {
        let (was, is) = (existing.plugins(), own.plugins());
        text.push(match was == is {
            true => format!("the plugin is another build of {is}"),
            false => format!("the plugin was {was} and is {is}"),
        });
    }
    let any_step = |differs: fn(&StepPart, &StepPart) -> bool| {
        let mut steps = existing.steps.iter().zip(&own.steps);
        steps.any(|(was, is)| differs(was, is))
    };
    if any_step(|was, is| was.config_sha256 != is.config_sha256) {
        text.push("the config of the plugin is another".to_owned());
    }
    if any_step(|was, is| was.data != is.data) {
        text.push("the reference data of the plugin is other".to_owned());
    }
    if any_step(|was, is| was.origin != is.origin) {
        text.push("the plugin uses the origin of the input, which is another".to_owned());
    }
}

/// Describes the options of inputs and outputs that differ between two receipts. An option of an input is compared only
/// if both receipts have the options of that input.
fn differing_options(existing: &Receipt, own: &Receipt) -> Vec<String> {
    let mut text = Vec::new();
    for (was, is) in existing.inputs.iter().zip(&own.inputs) {
        if let (Some(was), Some(is)) = (&was.options, &is.options) {
            text.extend(was.differences(is));
        }
    }
    for (was, is) in existing.outputs.iter().zip(&own.outputs) {
        differ(&mut text, "output's format", &was.format, &is.format);
    }
    text
}
