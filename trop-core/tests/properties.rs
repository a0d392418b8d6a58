//! Random histories against a model that is too simple to be wrong.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by them")]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Once;
use std::sync::atomic::{AtomicUsize, Ordering};

use common::{Scratch, port, range};
use proptest::prelude::*;
use trop_core::{
    Blockers, Code, Error, Key, LeaseRequest, PortSet, Refusal, Registry, ReleaseRequest, ReserveRequest, Tag,
};

/// Across the border of two words of the free set, which is at 20096.
const LOWEST: u16 = 20092;
const HIGHEST: u16 = 20099;

#[derive(Clone, Debug)]
enum Step {
    Reserve {
        path: u8,
        tag: u8,
        preferred: Option<u16>,
        min: Option<u16>,
        max: Option<u16>,
    },
    Release {
        path: u8,
        tag: u8,
        untagged_only: bool,
    },
    Lease {
        preferred: Option<u16>,
        min: Option<u16>,
        max: Option<u16>,
    },
    /// The lease with this number, counted around.
    Close(usize),
    Reopen,
}

/// Tag 0 stands for none.
fn tag(number: u8) -> Option<Tag> {
    (number > 0).then(|| common::tag(&number.to_string()))
}

fn path(number: u8) -> String {
    format!("/{number}")
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let near = LOWEST - 2..=HIGHEST + 2;
    let end = proptest::option::weighted(0.2, LOWEST..=HIGHEST);
    let lease = (proptest::option::weighted(0.2, near.clone()), end.clone(), end.clone())
        .prop_map(|(preferred, min, max)| Step::Lease { preferred, min, max });
    let close = (0..9_usize).prop_map(Step::Close);
    let reserve = (0..3_u8, 0..4_u8, proptest::option::weighted(0.3, near), end.clone(), end)
        .prop_map(|(path, tag, preferred, min, max)| Step::Reserve { path, tag, preferred, min, max });
    let release = (0..3_u8, 0..4_u8, any::<bool>()).prop_map(|(path, tag, untagged_only)| Step::Release {
        path,
        tag,
        untagged_only,
    });
    proptest::collection::vec(
        prop_oneof![
            6 => reserve, 3 => release, 6 => lease, 5 => close, 1 => Just(Step::Reopen)
        ],
        1..60,
    )
}

/// What the registry is, as far as callers can tell.
#[derive(Default)]
struct Model {
    rows: BTreeMap<(u8, u8), u16>,
    leases: Vec<u16>,
    /// What was given up, or is held, since the last time that a range began anew.
    tired: BTreeSet<u16>,
    excluded: BTreeSet<u16>,
}

impl Model {
    fn holds(&self, port: u16) -> bool {
        self.rows.values().chain(&self.leases).any(|other| *other == port)
    }

    /// The paths of all reservations are missing, so an exhausted range loses them, if that helps.
    fn lease(&mut self, preferred: Option<u16>, min: u16, max: u16) -> Option<u16> {
        self.lease_from(preferred, min, max).or_else(|| {
            let rows = std::mem::take(&mut self.rows);
            let port = self.lease_from(preferred, min, max);
            if port.is_none() {
                self.rows = rows;
            }
            port
        })
    }

    fn lease_from(&mut self, preferred: Option<u16>, min: u16, max: u16) -> Option<u16> {
        let usable = |port: &u16| !self.holds(*port) && !self.excluded.contains(port);
        let rested = |port: &u16| usable(port) && !self.tired.contains(port);
        let preferred = preferred.filter(|port| (min..=max).contains(port)).filter(usable);
        let port = preferred.or_else(|| (min..=max).find(rested)).or_else(|| (min..=max).find(usable))?;
        if preferred.is_none() && !rested(&port) {
            self.tired.retain(|other| !(min..=max).contains(other));
            let held: Vec<u16> = (min..=max).filter(|port| self.holds(*port)).collect();
            self.tired.extend(held);
        }
        self.tired.insert(port);
        self.leases.push(port);
        Some(port)
    }

    fn reserve(&mut self, key: (u8, u8), preferred: Option<u16>, min: u16, max: u16) -> Answer {
        if min > max {
            return Answer::BadRange;
        }
        if let Some(port) = self.rows.get(&key) {
            return Answer::Got { port: *port, created: false, refusal: None };
        }
        let refusal = preferred.and_then(|port| {
            if !(min..=max).contains(&port) {
                Some(Refusal::OutsideRange)
            } else if self.holds(port) {
                Some(Refusal::Reserved)
            } else if self.excluded.contains(&port) {
                Some(Refusal::Excluded)
            } else {
                None
            }
        });
        let usable = |port: &u16| !self.holds(*port) && !self.excluded.contains(port);
        let chosen = match preferred {
            Some(port) if refusal.is_none() => Some(port),
            _ => (min..=max).find(usable),
        };
        let Some(port) = chosen else {
            let count = |matches: &dyn Fn(u16) -> bool| {
                u32::try_from((min..=max).filter(|port| matches(*port)).count()).unwrap()
            };
            let reserved = count(&|port| self.holds(port));
            let excluded = count(&|port| !self.holds(port) && self.excluded.contains(&port));
            return Answer::Exhausted { reserved, excluded };
        };
        self.rows.insert(key, port);
        self.tired.insert(port);
        Answer::Got { port, created: true, refusal }
    }

    fn release(&mut self, path: u8, tag: u8, untagged_only: bool) -> usize {
        let before = self.rows.len();
        let all = tag == 0 && !untagged_only;
        self.rows.retain(|key, _| key.0 != path || !(all || key.1 == tag));
        before - self.rows.len()
    }
}

#[derive(Debug, PartialEq)]
enum Answer {
    Got { port: u16, created: bool, refusal: Option<Refusal> },
    Exhausted { reserved: u32, excluded: u32 },
    BadRange,
}

fn reserve(registry: &Registry, step: &Step) -> Answer {
    let Step::Reserve { path: place, tag: name, preferred, min, max } = step else { unreachable!() };
    let mut request = ReserveRequest::default();
    request.path = Some(path(*place).into());
    request.tag = tag(*name);
    request.preferred = preferred.map(port);
    request.min = min.map(port);
    request.max = max.map(port);
    // The paths do not exist.
    request.disable_autoprune = true;
    match registry.reserve(&request) {
        Ok(reserved) => Answer::Got {
            port: reserved.reservation.port.get(),
            created: reserved.created,
            refusal: reserved.refusal,
        },
        Err(Error::Exhausted { blockers: Blockers { reserved, excluded, occupied: 0, .. }, .. }) => {
            Answer::Exhausted { reserved, excluded }
        }
        Err(error) if matches!(error.code(), Code::InvalidArgument | Code::Config) => Answer::BadRange,
        Err(error) => panic!("{error}"),
    }
}

/// How often a free set had to be corrected, other than to fill a new one.
static CORRECTIONS: AtomicUsize = AtomicUsize::new(0);

/// The registry says in its log when the free set and the rows disagreed.
fn notice_corrections() {
    struct Listener;
    impl log::Log for Listener {
        fn enabled(&self, _: &log::Metadata<'_>) -> bool {
            true
        }
        fn log(&self, record: &log::Record<'_>) {
            let text = record.args().to_string();
            if text.contains("free ports") && !text.contains("1024 words") {
                CORRECTIONS.fetch_add(1, Ordering::SeqCst);
            }
        }
        fn flush(&self) {}
    }
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        log::set_logger(&Listener).unwrap();
        log::set_max_level(log::LevelFilter::Debug);
    });
}

fn open(scratch: &Scratch, excluded: &BTreeSet<u16>) -> Registry {
    let mut options = common::options(&scratch.dir());
    options.ports = Some(range(LOWEST, HIGHEST));
    for number in excluded {
        options.excluded.insert(port(*number));
    }
    Registry::open(options).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_history_ends_as_the_model_says(
        steps in steps(),
        excluded in proptest::collection::btree_set(LOWEST - 1..=HIGHEST, 0..4),
    ) {
        notice_corrections();
        let scratch = Scratch::new();
        let mut model = Model { excluded, ..Model::default() };
        let mut registry = open(&scratch, &model.excluded);
        let mut leases = Vec::new();
        for step in &steps {
            match step {
                Step::Reserve { path, tag, preferred, min, max } => {
                    let (min, max) = (min.unwrap_or(LOWEST), max.unwrap_or(HIGHEST));
                    let expected = model.reserve((*path, *tag), *preferred, min, max);
                    prop_assert_eq!(reserve(&registry, step), expected, "{:?}", step);
                }
                Step::Release { path: place, tag: name, untagged_only } => {
                    let mut request = ReleaseRequest::default();
                    request.path = Some(path(*place).into());
                    request.tag = tag(*name);
                    request.untagged_only = *untagged_only && *name == 0;
                    let count = registry.release(&request).unwrap();
                    prop_assert_eq!(count, model.release(*place, *name, request.untagged_only), "{:?}", step);
                }
                Step::Lease { preferred, min, max } => {
                    let (min, max) = (min.unwrap_or(LOWEST), max.unwrap_or(HIGHEST));
                    let mut request = LeaseRequest::default();
                    request.preferred = preferred.map(port);
                    (request.min, request.max) = (Some(port(min)), Some(port(max)));
                    let lease = registry.lease(&request).ok();
                    let found = lease.as_ref().map(|lease| lease.port().get());
                    prop_assert_eq!(found, model.lease(*preferred, min, max), "{:?}", step);
                    leases.extend(lease);
                }
                Step::Close(number) if !leases.is_empty() => {
                    let number = number % leases.len();
                    leases.remove(number).close();
                    model.leases.remove(number);
                }
                Step::Close(_) => {}
                Step::Reopen => registry = open(&scratch, &model.excluded),
            }
            let rows = registry.list().unwrap();
            let stored = |row: &trop_core::Reservation| {
                (row.key.path().to_owned(), row.key.tag().cloned(), row.port.get())
            };
            let found: Vec<_> = rows.iter().map(stored).collect();
            let promised = model.rows.iter().map(|(key, port)| (path(key.0), tag(key.1), *port));
            let expected: Vec<_> = promised.collect();
            prop_assert_eq!(found, expected, "after {:?}", step);
        }
        // What is left is given out in order too.
        for number in 0..=HIGHEST - LOWEST {
            let tag = u8::try_from(number).unwrap();
            let step = Step::Reserve { path: 9, tag, preferred: None, min: None, max: None };
            let Step::Reserve { path, tag, .. } = step else { unreachable!() };
            let expected = model.reserve((path, tag), None, LOWEST, HIGHEST);
            prop_assert_eq!(reserve(&registry, &step), expected);
        }
        prop_assert_eq!(CORRECTIONS.load(Ordering::SeqCst), 0, "the free set disagreed with the rows");
    }

    /// Whatever a key accepts comes back from the database unchanged; nothing that is accepted is called
    /// corrupt later.
    #[test]
    fn every_accepted_key_can_be_stored_and_read(
        path in "(/|~/)?\\PC{0,40}|[/.~a ]{0,12}",
        name in "[\\PC\\s]{0,80}",
    ) {
        let (Ok(tag), Ok(_)) = (Tag::new(&name), Key::new(Some(Path::new(&path)), None)) else {
            return Ok(());
        };
        prop_assert_eq!(Tag::new(tag.as_str()).unwrap(), tag.clone());
        let key = Key::new(Some(Path::new(&path)), Some(tag.clone())).unwrap();
        prop_assert!(Path::new(key.path()).is_absolute());
        prop_assert_eq!(&Key::new(Some(Path::new(key.path())), Some(tag.clone())).unwrap(), &key);
        thread_local!(static REGISTRY: (Scratch, Registry) = {
            let scratch = Scratch::new();
            let registry = scratch.open();
            (scratch, registry)
        });
        REGISTRY.with(|(_, registry)| {
            let mut request = ReserveRequest::default();
            (request.path, request.tag) = (Some(path.into()), Some(tag));
            let reserved = registry.reserve(&request).unwrap().reservation;
            assert_eq!(reserved.key, key);
            assert_eq!(registry.list().unwrap(), std::slice::from_ref(&reserved));
            assert_eq!(registry.find(&key).unwrap(), Some(reserved));
            registry.release(&{
                let mut all = ReleaseRequest::default();
                all.path = Some(key.path().into());
                all
            }).unwrap();
        });
    }

    #[test]
    fn a_list_of_ports_means_what_it_says(
        entries in proptest::collection::vec((1..=u16::MAX, 0..50_u16, any::<bool>()), 0..8),
        noise in "[0-9., x+-]{0,12}",
    ) {
        let mut expected = BTreeSet::new();
        let text: Vec<String> = entries.iter().map(|(low, more, single)| {
            let high = low.saturating_add(if *single { 0 } else { *more });
            expected.extend(*low..=high);
            if *single { format!(" {low}") } else { format!("{low} ..{high} ") }
        }).collect();
        let set: PortSet = text.join(",").parse().unwrap();
        for number in 1..=u16::MAX {
            prop_assert_eq!(set.contains(port(number)), expected.contains(&number));
        }
        // Anything else is an error, never a panic.
        if let Err(error) = noise.parse::<PortSet>() {
            prop_assert_eq!(error.argument(), Some("excluded"));
        }
    }
}
