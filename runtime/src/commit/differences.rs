//! Compares two receipts of one id: the receipts go in; a text for people about their differences comes out.

use crate::receipt::Receipt;

/// Describes the differences of two receipts of one id, for people. Leaves out consequences of other differences, such
/// as different bytes of the output.
pub(super) fn differences(existing: &Receipt, own: &Receipt) -> String {
    let mut text = Vec::new();
    let queue = |receipt: &Receipt| receipt.request.queue.clone().unwrap_or_else(|| "none".into());
    let mut differ = |name: &str, was: &str, is: &str| {
        if was != is {
            text.push(format!("the {name} was {was} and is {is}"));
        }
    };
    differ("id", &existing.request.id, &own.request.id);
    differ("queue", &queue(existing), &queue(own));
    if existing.input.sha256 != own.input.sha256 {
        differ("input", &existing.input.uri, &own.input.uri);
        if existing.input.uri == own.input.uri {
            text.push(format!("the input {} has other bytes than it had", own.input.uri));
        }
    }
    if existing.plugin.sha256 != own.plugin.sha256 {
        let name = |receipt: &Receipt| format!("{}@{}", receipt.plugin.name, receipt.plugin.version);
        let (was, is) = (name(existing), name(own));
        text.push(match was == is {
            true => format!("the plugin is another build of {is}"),
            false => format!("the plugin was {was} and is {is}"),
        });
    }
    if existing.config_sha256 != own.config_sha256 {
        text.push("the config of the plugin is another".to_owned());
    }
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

/// Names the options of input and output in which two receipts differ, as far as both give them.
fn differing_options(existing: &Receipt, own: &Receipt) -> Vec<String> {
    let mut text = match (&existing.input.options, &own.input.options) {
        (Some(was), Some(is)) => was.differences(is),
        _ => Vec::new(),
    };
    let format = |receipt: &Receipt| receipt.outputs.first().map(|output| output.format.name());
    if let (Some(was), Some(is)) = (format(existing), format(own))
        && was != is
    {
        text.push(format!("the output's format was {was} and is {is}"));
    }
    text
}
