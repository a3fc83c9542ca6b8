use std::sync::atomic::{AtomicU32, Ordering};

use super::{Admission, Entry};
use crate::plan::{self, LoadBalancer, Queue};
use crate::service::ServiceState;
use crate::service::fixture::{at, build, plan, seconds, threads};

fn bounded(most: Option<usize>, size: usize) -> plan::Service {
    let queue = Queue { size, timeout: seconds(1.0) };
    plan::Service { max_in_flight: most, queue, ..plan(LoadBalancer::RoundRobin, &[1]) }
}

fn enter(service: &ServiceState) -> Option<Entry<'_>> {
    match service.admit() {
        Admission::Enter(entry) => Some(entry),
        _ => None,
    }
}

#[test]
fn without_a_bound_everybody_enters() {
    let service = build(&bounded(None, 0));
    let entries: Vec<_> = (0..1000).map(|_| enter(&service).unwrap()).collect();
    assert_eq!((entries.len(), service.entered()), (1000, 0));
}

#[test]
fn beyond_the_bound_some_wait_and_the_rest_is_refused() {
    let service = build(&bounded(Some(2), 1));
    let (first, _second) = (enter(&service).unwrap(), enter(&service).unwrap());
    let Admission::Wait(place) = service.admit() else { panic!("there is room in the queue") };
    assert!(matches!(service.admit(), Admission::Full));
    assert_eq!((service.entered(), service.waiting()), (2, 1));
    let place = place.try_enter().unwrap_err();
    drop(first);
    assert!(matches!(service.admit(), Admission::Full), "nobody overtakes");
    let _third = place.try_enter().unwrap();
    assert_eq!((service.entered(), service.waiting()), (2, 0));
}

#[test]
fn a_place_that_is_given_up_is_free() {
    let service = build(&bounded(Some(1), 1));
    let _entry = enter(&service).unwrap();
    drop(service.admit());
    assert!(matches!(service.admit(), Admission::Wait(_)));
    assert_eq!((service.entered(), service.waiting()), (1, 0));
}

#[test]
fn without_a_queue_the_bound_refuses() {
    let service = build(&bounded(Some(1), 0));
    let entry = enter(&service).unwrap();
    assert!(matches!(service.admit(), Admission::Full));
    drop(entry);
    assert!(enter(&service).is_some());
}

#[test]
fn a_reload_keeps_those_who_are_in() {
    let service = build(&bounded(Some(2), 0));
    let _entry = enter(&service).unwrap();
    let next = ServiceState::build(&bounded(Some(1), 0), Some(&service), at(0.0)).unwrap();
    assert!(matches!(next.admit(), Admission::Full));
}

#[test]
fn the_bound_holds_while_workers_race() {
    let service = build(&bounded(Some(3), 2));
    let inside = AtomicU32::new(0);
    let work = |_| {
        for _ in 0..5000 {
            let entry = match service.admit() {
                Admission::Enter(entry) => Some(entry),
                Admission::Wait(place) => place.try_enter().ok(),
                Admission::Full => None,
            };
            if entry.is_some() {
                assert!(inside.fetch_add(1, Ordering::SeqCst) < 3);
                inside.fetch_sub(1, Ordering::SeqCst);
            }
        }
    };
    threads(4, work);
    assert_eq!((service.entered(), service.waiting()), (0, 0));
}
