//! A transaction whose MULTI was refused: the server has taken its commands one by one, and the caller is told what
//! became of each.

use crate::error::{Error, Status};
use crate::session::Session;
use crate::session::call::{Call, Singly};
use crate::session::proof::Proof;

impl<T> Session<T> {
    /// Ends a transaction whose MULTI was refused: the server has taken its commands one by one.
    pub(in crate::session) fn end_singly(&mut self, key: usize) {
        let Call { request, rare, .. } = &mut self.calls[key];
        let rare = rare.get_or_insert_default();
        let answers = std::mem::take(&mut rare.answers);
        for ((item, form, _), text) in std::mem::take(&mut rare.doubtful).into_iter().zip(&rare.singly_texts)
        {
            let script = request.items[item].script.map_or(0, |script| script as usize);
            let is_confirmed = match form.is_function() {
                true => answers.prove(script, form, text) != Proof::Nothing,
                false => answers.confirm(form, text),
            };
            if is_confirmed {
                rare.singly[item] = Singly::Refused;
            }
        }
        if let Some((_, text)) = &rare.queue_error {
            let error = ran_singly(text, &rare.singly);
            self.refuse(key, error);
        }
    }
}

/// The error of a transaction whose MULTI was refused with `text`.
pub(in crate::session) fn ran_singly(text: &[u8], items: &[Singly]) -> Error {
    if items.iter().all(|&item| item == Singly::Refused) {
        return Error::server(Status::TransactionAborted, text, true)
            .context("the server refused MULTI and each command behind it; nothing ran");
    }
    let told = |outcome, what| {
        let found = places(items, outcome);
        (!found.is_empty()).then(|| format!("{found} {what}"))
    };
    let told: Vec<String> = [
        told(Singly::Ran, "ran"),
        told(Singly::Failed, "answered with an error, and may have run up to it"),
        told(Singly::Refused, "did not run"),
    ]
    .into_iter()
    .flatten()
    .collect();
    let context = format!(
        "the server refused MULTI in the middle of the transaction, so that its commands were taken singly, not as a \
         whole ({})",
        told.join("; ")
    );
    Error::server(Status::Indeterminate, text, false).context(context)
}

/// The numbers of the items with this outcome, in ranges: `items 0-2, 7`.
fn places(items: &[Singly], outcome: Singly) -> String {
    /// A text must not grow with the transaction.
    const SHOWN: usize = 8;
    let mut ranges: Vec<(usize, usize)> = Vec::new();
    let mut count = 0;
    for item in (0..items.len()).filter(|&item| items[item] == outcome) {
        count += 1;
        match ranges.last_mut() {
            Some((_, last)) if *last + 1 == item => *last = item,
            _ => ranges.push((item, item)),
        }
    }
    let shown: Vec<String> = ranges
        .iter()
        .take(SHOWN)
        .map(|(first, last)| if first == last { first.to_string() } else { format!("{first}-{last}") })
        .collect();
    match (count, ranges.len() > SHOWN) {
        (0, _) => String::new(),
        (1, _) => format!("item {}", shown[0]),
        (_, false) => format!("items {}", shown.join(", ")),
        (_, true) => format!("items {}, ... ({count} in all)", shown.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_told_in_ranges() {
        let items = |letters: &str| -> Vec<Singly> {
            let outcome = |letter| if letter == 'x' { Singly::Ran } else { Singly::Refused };
            letters.chars().map(outcome).collect()
        };
        for (letters, told) in [
            ("", ""),
            ("---", ""),
            ("-x-", "item 1"),
            ("xxx----x", "items 0-2, 7"),
            ("x-x", "items 0, 2"),
            ("-xx", "items 1-2"),
            ("x-x-x-x-x-x-x-x", "items 0, 2, 4, 6, 8, 10, 12, 14"),
            ("x-x-x-x-x-x-x-x-xx", "items 0, 2, 4, 6, 8, 10, 12, 14, ... (10 in all)"),
        ] {
            assert_eq!(places(&items(letters), Singly::Ran), told, "{letters}");
        }
    }
}
