//! A wildcard costs nothing when a batch is published that it does not select.

use crate::Effort;
use crate::measure::in_turn;
use crate::publish::{OnBus, Way};
use crate::table::{Figure, Row};

const MATCHING: usize = 10;
const ALL: usize = 1000;

pub(crate) fn rows(effort: Effort) -> Vec<Row> {
    let mut only = OnBus::new(Way::Task, MATCHING);
    let mut among = OnBus::new(Way::Task, MATCHING);
    for other in 0..ALL - MATCHING {
        among.also(&format!("metrics.other{other}.*"));
    }
    let [only, among] =
        in_turn(effort, [&mut || only.per_publish(effort), &mut || among.per_publish(effort)])
            .map(Figure::Nanoseconds);
    let work = "publish with 1,000 subscriptions, 990 of them wildcards that don't match";
    vec![Row::new(work, among, "with the 10 that match alone", only)]
}
