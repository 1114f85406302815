//! Random answers, requests and clocks against an oracle written from the RFCs.
//!
//! The law: what the built-in policy stores, an oracle that knows nothing of `proxy::rules` lets it store; what it
//! reuses, the oracle lets it reuse, and never as younger than it is. The other direction keeps the oracle honest:
//! what it permits and the policy refuses is one of the deviations that `reuse_oracle/deviation.rs` names, and each
//! of those occurs.
//!
//! `LACQUER_SEED` and `LACQUER_CASES` choose other cases, and more of them. A failure prints its seed, and the case
//! after everything was left out of it that it does not need.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot go on fails there"
)]

#[path = "reuse_oracle/case.rs"]
mod case;
#[path = "reuse_oracle/deviation.rs"]
mod deviation;
#[path = "reuse_oracle/generate.rs"]
mod generate;
#[path = "reuse_oracle/grammar.rs"]
mod grammar;
#[path = "reuse_oracle/rfc.rs"]
mod rfc;
#[path = "reuse_oracle/subject.rs"]
mod subject;

use std::collections::BTreeMap;

use case::Case;
use deviation::Deviation;
use generate::Generator;
use rfc::{Said, Scope, Use};
use subject::{Decision, Served, decide};

fn number(name: &str, default: u64) -> u64 {
    match std::env::var(name) {
        Ok(text) => text.parse().expect("a number"),
        Err(_) => default,
    }
}

/// Gives every case to `fault` and fails with the smallest form of the first that has one.
fn search(
    cases: u64,
    prepare: impl Fn(&mut Generator) -> Case,
    mut fault: impl FnMut(&Case) -> Option<String>,
) {
    let seed = number("LACQUER_SEED", 9111);
    for index in 0..number("LACQUER_CASES", cases) {
        let seed = seed.wrapping_add(index);
        let case = prepare(&mut Generator::new(seed));
        if let Some(what) = fault(&case) {
            let kind = |what: &str| what.split(':').next().map(str::to_owned);
            let fault = std::cell::RefCell::new(&mut fault);
            let smallest = case.shrink(|case| {
                (fault.borrow_mut())(case).is_some_and(|other| kind(&other) == kind(&what))
            });
            let what = (fault.borrow_mut())(&smallest).expect("it still fails");
            panic!("LACQUER_SEED={seed} LACQUER_CASES=1: {what}\n{smallest}");
        }
    }
}

/// What the decision does that the oracle forbids.
fn unsound(case: &Case, decision: &Decision) -> Option<String> {
    let Some(kept) = &decision.kept else {
        return None;
    };
    if let Err(because) = rfc::may_store(case) {
        return Some(format!("stored: {because}"));
    }
    let said = Said::of(case);
    for name in ["private", "no-cache"] {
        if let Scope::Fields(fields) = said.scope(name)
            && let Some(field) = fields.iter().find(|field| kept.contains(field))
            // Where the origin's Date is withheld, that of receipt stands in.
            && field != "date"
            // One that cannot be read speaks of everything.
            && !said.mentions(name).any(|known| known.escaped)
        {
            return Some(format!("kept: {field}, which {name} withholds"));
        }
    }
    if let Some(field) = kept
        .iter()
        .find(|name| ["connection", "proxy-authenticate"].contains(&name.as_str()))
    {
        return Some(format!("kept: {field}, RFC 9111 §3.1"));
    }
    match (decision.served, rfc::may_reuse(case)) {
        (Served::No, _)
        | (Served::Alone, Ok(Use::Fresh | Use::Welcome))
        | (Served::WhileRefreshed, Ok(_)) => {}
        (Served::Alone, Ok(Use::WhileRevalidated)) => {
            return Some(
                "reused: without the revalidation that permits it, RFC 5861 §3".to_owned(),
            );
        }
        (_, Err(because)) => return Some(format!("reused: {because}")),
    }
    if decision.stands_in
        && let Err(because) = rfc::may_stand_in(case)
    {
        return Some(format!("stood in: {because}"));
    }
    let least = (rfc::current_age(case) / 1000).min(1 << 31);
    if (decision.served != Served::No || decision.stands_in) && decision.age < least {
        return Some(format!("too young: Age {} and not {least}", decision.age));
    }
    None
}

/// What the decision refuses although the oracle permits it: the deviations that show in the case.
fn refused(case: &Case, decision: &Decision) -> Option<(&'static str, Vec<Deviation>)> {
    if decision.kept.is_none() {
        return rfc::may_store(case)
            .ok()
            .map(|()| ("not stored", deviation::of_storing(case)));
    }
    let reuse = rfc::may_reuse(case);
    if decision.served == Served::No && reuse.is_ok() {
        return Some(("not reused", deviation::of_reusing(case)));
    }
    if !decision.stands_in && rfc::may_stand_in(case).is_ok() {
        return Some(("does not stand in", deviation::of_standing_in(case)));
    }
    None
}

#[test]
fn long_what_is_stored_and_reused_the_rfcs_permit() {
    let (mut stored, mut fresh, mut stale, mut stood_in) = (0, 0, 0, 0);
    search(200_000, Generator::case, |case| {
        let decision = decide(case);
        stored += u32::from(decision.kept.is_some());
        stood_in += u32::from(decision.stands_in);
        fresh += u32::from(decision.served == Served::Alone);
        stale += u32::from(decision.served == Served::WhileRefreshed);
        unsound(case, &decision)
    });
    println!(
        "stored {stored}, served {fresh}, served while refreshed {stale}, stood in {stood_in}"
    );
    if number("LACQUER_CASES", 200_000) >= 200_000 {
        assert!(stored > 20_000 && fresh > 5_000 && stale > 200 && stood_in > 2_000);
    }
}

#[test]
fn long_what_is_refused_beyond_the_rfcs_has_a_name() {
    let mut alone: BTreeMap<Deviation, u32> = BTreeMap::new();
    search(100_000, Generator::case, |case| {
        let (what, shown) = refused(case, &decide(case))?;
        if let [only] = shown[..] {
            *alone.entry(only).or_default() += 1;
        }
        shown
            .is_empty()
            .then(|| format!("{what}: and no deviation explains it"))
    });
    println!("{alone:?}");
    if number("LACQUER_CASES", 100_000) >= 100_000 {
        let unseen: Vec<_> = deviation::ALL
            .iter()
            .filter(|known| !alone.contains_key(known))
            .collect();
        assert!(unseen.is_empty(), "no case needs {unseen:?}");
    }
}

#[test]
fn no_bytes_and_no_clock_make_a_decision_panic() {
    let spoilt = |generator: &mut Generator| {
        let mut case = generator.case();
        generator.spoil(&mut case);
        case
    };
    search(50_000, spoilt, |case| {
        let outcome = std::panic::catch_unwind(|| decide(case));
        outcome.is_err().then(|| "panicked: see above".to_owned())
    });
}
