//! Doors and lamps: a keeper opens a door before he lights its lamp, and puts the lamp out before he closes the door. So nobody
//! ever sees a lamp that is lit behind no door.
//!
//! ```text
//! door (first table)   absent ──┤ put ├─────────────────────┤ delete ├── absent
//! lamp (last table)                   ┤ lit ├───┤ out ├
//! ```
//!
//! The history's checkers find out what was seen; here it is only made likely that two rounds of reads lie so that each sees no
//! door, and a lit lamp in between.

use std::time::Duration;

use bytes::Bytes;

use super::{Place, Worker, Workload};

/// The key of a door, and of its lamp.
fn keys(number: u64) -> [Bytes; 2] {
    ["door", "lamp"].map(|what| Bytes::from(format!("{what}-{number}")))
}

impl Workload {
    /// The keys of all doors and lamps.
    pub(super) fn door_keys(&self) -> impl Iterator<Item = Bytes> {
        (0..self.doors).flat_map(keys)
    }

    /// Where a door is, and its lamp.
    fn door(&self, number: u64) -> Option<[Place; 2]> {
        let [door, lamp] = keys(number);
        let (first, last) = (self.tables.first()?, self.tables.last()?);
        Some([(first.name.clone(), door), (last.name.clone(), lamp)])
    }
}

impl Worker {
    /// Keeps a door until it is told to stop.
    pub async fn keep(mut self, number: u64, workload: Workload) {
        let Some([door, lamp]) = workload.door(number) else {
            return;
        };
        while !self.record.stopped() {
            self.set(&door).await;
            self.set(&lamp).await;
            self.pause(&workload).await;
            self.set(&lamp).await;
            let always = client::Condition::Always;
            self.delete_if(&door.0, &door.0, door.1.clone(), always)
                .await;
            self.pause(&workload).await;
        }
    }

    async fn set(&mut self, (table, key): &Place) {
        let _ = self.put(table, table, key.clone(), 20).await;
    }

    async fn pause(&mut self, workload: &Workload) {
        let millis = self.dice.around(workload.door_millis);
        tokio::time::sleep(Duration::from_millis(millis)).await;
    }

    /// Some door and its lamp.
    pub(super) fn any_door(&mut self, workload: &Workload) -> Option<Vec<Place>> {
        let number = self.dice.between(0, workload.doors.checked_sub(1)?);
        workload.door(number).map(Vec::from)
    }
}
