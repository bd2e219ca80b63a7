//! Rules that a target would remove, judged before anything is held.

use morph_api::supervisor::RuleLoss;
use morph_openflow::Dpid;

/// Fewer rules than this are no loss on a switch, unless a table is emptied.
const LEAST: u64 = 10;
/// Rules that are named.
const EXAMPLES: usize = 5;

/// Objection to a target that would remove more than half of an app's rules on a switch, without others in their place, or all rules
/// of a table.
pub fn judge(losses: &[RuleLoss]) -> Option<String> {
    let too_much: Vec<&RuleLoss> = losses.iter().filter(|loss| is_too_much(loss)).collect();
    let worst = too_much.iter().max_by_key(|loss| lost(loss))?;
    let RuleLoss {
        dpid,
        present,
        added,
        removed,
        emptied,
        examples,
    } = worst;
    let others = match too_much.len() - 1 {
        0 => String::new(),
        more => format!(" (and too many on {more} other switches)"),
    };
    let tables: Vec<String> = emptied.iter().map(u32::to_string).collect();
    let tables = match tables.is_empty() {
        true => String::new(),
        false => format!(", all of table {}", tables.join(" and ")),
    };
    let named = examples.iter().take(EXAMPLES).cloned().collect::<Vec<_>>();
    Some(format!(
        "it would remove {removed} of the app's {present} rules on switch {}{tables}, and add {added}{others}. To be removed, among \
         others: {}. Nothing was held; if that is meant, say --allow-rule-loss",
        Dpid(*dpid),
        named.join("; ")
    ))
}

/// Removed rules that no added ones stand for.
fn lost(loss: &RuleLoss) -> u64 {
    loss.removed.saturating_sub(loss.added)
}

fn is_too_much(loss: &RuleLoss) -> bool {
    let lost = lost(loss);
    let many = lost >= LEAST && lost.saturating_mul(2) > loss.present;
    many || !loss.emptied.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn loss(present: u64, added: u64, removed: u64, emptied: &[u32]) -> RuleLoss {
        RuleLoss {
            dpid: 0x2a,
            present,
            added,
            removed,
            emptied: emptied.to_vec(),
            examples: (1..=6).map(|n| format!("rule {n}")).collect(),
        }
    }

    #[test]
    fn more_than_half_of_the_rules_or_a_whole_table_is_too_much() {
        for (loss, is_judged) in [
            (loss(100, 0, 50, &[]), false),
            (loss(100, 0, 51, &[]), true),
            (loss(100, 1, 51, &[]), false),
            (loss(9, 0, 9, &[]), false),
            (loss(10, 0, 10, &[]), true),
            (loss(100, 0, 1, &[4]), true),
        ] {
            assert_eq!(
                judge(std::slice::from_ref(&loss)).is_some(),
                is_judged,
                "{loss:?}"
            );
        }
        assert_eq!(judge(&[]), None);
    }

    #[test]
    fn the_worst_switch_is_told_with_five_examples() {
        let worse = RuleLoss {
            dpid: 0x2b,
            ..loss(100, 2, 90, &[3])
        };
        let told = judge(&[loss(100, 0, 51, &[]), worse]).unwrap();
        for part in [
            "90 of the app's 100 rules on switch 000000000000002b, all of table 3, and add 2",
            "(and too many on 1 other switches)",
            "rule 5. Nothing was held",
            "--allow-rule-loss",
        ] {
            assert!(told.contains(part), "{part:?} is missing: {told}");
        }
        assert!(!told.contains("rule 6"), "{told}");
    }
}
