//! The conformance suite.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use coordination::SharedCoordination;
use coordination::conformance::{Fixture, run};
use coordination::simulated::{Ensemble, EnsembleOptions, Faults};
use tokio::time::{Instant, sleep};

/// One ensemble per store.
struct SimulatedFixture {
    seed: u64,
    faults: Faults,
    stores: Mutex<BTreeMap<u32, (Ensemble, u64)>>,
}

impl SimulatedFixture {
    fn new(seed: u64, faults: Faults) -> Arc<Self> {
        Arc::new(Self {
            seed,
            faults,
            stores: Mutex::default(),
        })
    }

    fn counted(&self, kind: &str) -> u64 {
        let stores = self.stores.lock().unwrap();
        let counts = stores.values().map(|(ensemble, _)| ensemble.counts());
        counts
            .map(|counts| counts.get(kind).copied().unwrap_or(0))
            .sum()
    }
}

#[async_trait]
impl Fixture for SimulatedFixture {
    async fn session(&self, store: u32) -> SharedCoordination {
        let connect = {
            let mut stores = self.stores.lock().unwrap();
            let (ensemble, processes) = stores.entry(store).or_insert_with(|| {
                let ensemble = Ensemble::new(self.seed, EnsembleOptions::default());
                ensemble.set_faults(self.faults.clone());
                (ensemble, 0)
            });
            *processes += 1;
            ensemble.client(*processes, *processes)
        };
        connect.connect().await.unwrap()
    }
}

/// Runs the suite while all ensembles advance every simulated millisecond.
async fn conforms(fixture: &Arc<SimulatedFixture>) {
    let start = Instant::now();
    let driven = async {
        loop {
            sleep(Duration::from_millis(1)).await;
            let now = start.elapsed().as_micros() as u64;
            let ensembles: Vec<_> = fixture.stores.lock().unwrap().values().cloned().collect();
            for (ensemble, _) in ensembles {
                ensemble.advance(now);
            }
        }
    };
    let suite: Arc<dyn Fixture> = Arc::clone(fixture) as _;
    tokio::select! {
        () = run(suite) => {}
        () = driven => {}
    }
}

#[tokio::test(start_paused = true)]
async fn a_healthy_ensemble_conforms() {
    let fixture = SimulatedFixture::new(1, Faults::default());
    conforms(&fixture).await;
    assert_eq!(fixture.counted("server_lag"), 0);
}

#[tokio::test(start_paused = true)]
async fn an_ensemble_whose_servers_lag_conforms() {
    for seed in 0..20 {
        let faults = Faults {
            server_lag: Duration::from_millis(500),
            ..Faults::default()
        };
        let fixture = SimulatedFixture::new(seed, faults);
        conforms(&fixture).await;
        assert!(fixture.counted("server_lag") > 0);
    }
}
