//! How faults end.

use coordination::simulated::Faults;

use super::{Nemesis, Undo};
use crate::cluster::{Cluster, Death};
use crate::fabric::Quality;
use crate::host::Speed;
use crate::probe::Tampering;

impl Nemesis {
    pub(super) fn undo(&mut self, cluster: &mut Cluster, undo: Undo) {
        cluster.say(|| format!("fault ends: {undo:?}"));
        match undo {
            Undo::Start(hosts) => hosts.into_iter().for_each(|host| cluster.start(host)),
            Undo::Continue(host) => cluster.pause(host, false),
            Undo::Join(pairs) => {
                for (from, to) in pairs {
                    cluster.fabric.cut(from, to, false);
                }
            }
            Undo::Restart(restart) => self.restart_now(cluster, restart),
            Undo::Pause(node, millis) => {
                self.pause(cluster, node, millis);
            }
            Undo::Hunt => {
                if let Some(mut hunt) = self.hunt.take() {
                    hunt.end(cluster);
                }
            }
            Undo::Coordinators => self.coordinators = None,
            Undo::Losses => self.losses = None,
            Undo::Deletion => {
                if let Some(mut deletion) = self.deletion.take() {
                    deletion.end(cluster);
                }
            }
            Undo::Network => cluster.fabric.set_quality(Quality::default()),
            Undo::Far => cluster.fabric.bring_near(),
            Undo::Messages => cluster.tamper.set(Tampering::default()),
            Undo::Speed(host) => {
                if let Some(host) = cluster.host(host) {
                    host.speed = Speed::default();
                }
            }
            Undo::Space(host) => {
                if let Some(disks) = cluster.disks(host) {
                    disks.make_room();
                }
                // What has stopped for lack of space goes on when the node is started again.
                cluster.kill(host, Death::Process);
                cluster.start(host);
            }
            Undo::Kill(host) => {
                cluster.kill(host, Death::Power);
                self.until(cluster, 100, 3_000, Undo::Start(vec![host]));
            }
            Undo::Rate(host) => {
                if let Some(host) = cluster.host(host) {
                    host.clock().set_right();
                }
            }
            Undo::Coordination(host) => cluster.ensemble.cut(u64::from(host.0), false),
            Undo::Servers => cluster.ensemble.outage(false),
            Undo::Requests => cluster.ensemble.set_faults(Faults::default()),
        }
    }
}
