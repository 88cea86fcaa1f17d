use std::collections::BTreeSet;
use std::slice::from_ref;
use std::sync::Mutex;

use super::*;
use crate::Item;

/// Answers after a while; from the `stall`-th request on it never answers in time.
#[derive(Clone)]
struct Fake {
    shared: Arc<Shared>,
}

struct Shared {
    latency: Duration,
    stall: Option<(Duration, Duration)>,
    begin: Instant,
    calls: Mutex<Vec<(&'static str, usize)>>,
    keys: Mutex<BTreeSet<Bytes>>,
}

impl Fake {
    fn new(latency: Duration, stall: Option<(Duration, Duration)>) -> Self {
        let shared = Shared {
            latency,
            stall,
            begin: Instant::now(),
            calls: Mutex::default(),
            keys: Mutex::default(),
        };
        Self {
            shared: Arc::new(shared),
        }
    }

    async fn call(&self, what: &'static str, items: usize) -> Result<(), &'static str> {
        let shared = &self.shared;
        shared.calls.lock().unwrap().push((what, items));
        tokio::time::sleep(shared.latency).await;
        if let Some((from, to)) = shared.stall
            && (from..to).contains(&shared.begin.elapsed())
        {
            sleep_until(shared.begin + to).await;
        }
        if what == "transact_get" {
            Err("NO")
        } else {
            Ok(())
        }
    }

    fn calls(&self) -> Vec<(&'static str, usize)> {
        self.shared.calls.lock().unwrap().clone()
    }
}

impl Target for Fake {
    type Error = &'static str;

    fn reason(error: &Self::Error) -> String {
        (*error).to_owned()
    }

    async fn get(&self, _: Bytes) -> Result<bool, Self::Error> {
        self.call("get", 1).await.map(|()| false)
    }

    async fn put(&self, _: Item) -> Result<(), Self::Error> {
        self.call("put", 1).await
    }

    async fn transact_get(&self, keys: Vec<Bytes>) -> Result<bool, Self::Error> {
        self.call("transact_get", keys.len()).await.map(|()| true)
    }

    async fn transact_put(&self, items: Vec<Item>) -> Result<(), Self::Error> {
        self.call("transact_put", items.len()).await
    }

    async fn put_many(&self, items: Vec<Item>) -> Result<(), Self::Error> {
        let keys = items.iter().map(|(key, _)| key.clone());
        self.shared.keys.lock().unwrap().extend(keys);
        self.call("put_many", items.len()).await
    }
}

fn plan(workload: Workload, clients: u32, rate: Option<u32>) -> Plan {
    Plan {
        workload,
        clients,
        rate,
        duration: Duration::from_secs(1),
        ..Plan::default()
    }
}

#[tokio::test(start_paused = true)]
async fn a_closed_loop_has_as_many_requests_in_flight_as_clients() {
    let target = Fake::new(Duration::from_millis(10), None);
    let plan = Plan {
        warmup: Duration::from_millis(500),
        ..plan(Workload::Put, 4, None)
    };
    let measured = run(&plan, from_ref(&target)).await.unwrap();
    assert_eq!(target.calls().len(), 4 * 150);
    let operations = measured.operations();
    assert!(
        operations.abs_diff(4 * 100) <= 4,
        "not the warm-up: {operations}"
    );
    assert!(measured.throughput() > 390.0);
    assert_eq!(measured.cpu_micros(), None);
    assert_eq!(measured.unsent, 0);
}

#[tokio::test(start_paused = true)]
async fn at_a_fixed_rate_a_pause_counts_for_all_who_were_due_in_it() {
    let pause = (Duration::from_millis(400), Duration::from_millis(700));
    let target = Fake::new(Duration::from_millis(1), Some(pause));
    let measured = run(&plan(Workload::Put, 10, Some(1000)), &[target])
        .await
        .unwrap();
    assert_eq!(measured.operations(), 1000);
    assert_eq!(measured.unsent, 0);
    let (_, latency) = measured.latencies().next().unwrap();
    // Of a second a third was a pause: a third of all operations were late, not ten of them.
    assert!(latency.p50 < 3_000, "{latency:?}");
    assert!(latency.p90 > 150_000, "{latency:?}");
    assert!(latency.max > 290_000, "{latency:?}");
}

#[tokio::test(start_paused = true)]
async fn what_a_fixed_rate_owes_in_the_end_is_told() {
    let target = Fake::new(Duration::from_millis(100), None);
    let measured = run(&plan(Workload::Put, 1, Some(100)), &[target])
        .await
        .unwrap();
    assert_eq!(measured.operations() + measured.unsent, 100);
    assert!(measured.unsent >= 89, "{}", measured.unsent);
}

#[tokio::test(start_paused = true)]
async fn operations_reach_the_target_and_errors_are_counted() {
    let get = Fake::new(Duration::from_millis(100), None);
    let measured = run(&plan(Workload::YcsbC, 1, None), from_ref(&get)).await;
    assert_eq!(measured.unwrap().misses, 10);
    assert!(get.calls().iter().all(|call| *call == ("get", 1)));

    let modify = Fake::new(Duration::from_millis(10), None);
    let measured = run(&plan(Workload::YcsbF, 1, None), from_ref(&modify)).await;
    let names: BTreeSet<_> = measured
        .unwrap()
        .latencies()
        .map(|(o, _)| o.name())
        .collect();
    assert_eq!(names, ["get", "read_modify_write"].into());
    assert!(modify.calls().contains(&("put", 1)));

    let put = Fake::new(Duration::from_millis(100), None);
    let measured = run(&plan(Workload::TransactPut, 2, None), from_ref(&put)).await;
    assert_eq!(measured.unwrap().operations(), 20);
    assert!(put.calls().iter().all(|call| *call == ("transact_put", 3)));

    let failing = Fake::new(Duration::from_millis(100), None);
    let measured = run(&plan(Workload::TransactGet, 1, None), &[failing]).await;
    let measured = measured.unwrap();
    assert_eq!(measured.operations(), 0);
    assert_eq!(measured.errors["NO"], 10);
    assert_eq!(measured.first_error, Some("NO"));
}

#[tokio::test(start_paused = true)]
async fn clients_are_spread_over_all_targets() {
    let targets = [(); 2].map(|()| Fake::new(Duration::from_millis(100), None));
    run(&plan(Workload::Put, 4, None), &targets).await.unwrap();
    for target in &targets {
        assert_eq!(target.calls().len(), 20);
    }
}

#[tokio::test(start_paused = true)]
async fn every_key_is_written_once() {
    let target = Fake::new(Duration::from_millis(1), None);
    let plan = Plan {
        keys: 1234,
        ..plan(Workload::Put, 7, None)
    };
    let measured = crate::fill(&plan, from_ref(&target)).await.unwrap();
    assert_eq!(measured.operations(), 1234);
    assert_eq!(target.shared.keys.lock().unwrap().len(), 1234);
    assert!(target.calls().iter().all(|(_, items)| *items <= 50));
}

#[tokio::test]
async fn the_time_of_servers_is_measured_and_a_wrong_one_is_an_error() {
    let target = Fake::new(Duration::from_millis(1), None);
    let mut plan = Plan {
        duration: Duration::from_millis(100),
        servers: vec![std::process::id()],
        ..plan(Workload::Put, 1, None)
    };
    let measured = run(&plan, from_ref(&target)).await.unwrap();
    assert!(measured.cpu_micros().is_some());
    plan.servers = vec![4_194_305];
    assert!(run(&plan, &[target]).await.is_err());
}
