//! The dispatcher: takes batches from all publishers and hands each to its subscribers. One
//! task, so its routes need no lock, and publishing costs the same however many subscribe.

use std::collections::HashMap;
use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use dropsonde_plugin_api::schema::StreamKind;

use super::Subscriber;
use super::filter::Bound;
use super::inbox::{Change, Entry, Inbox, StreamId};
use super::subscription::{LeftOut, Shared};
use crate::model::Batch;
use crate::sync::atomic::{AtomicU64, Ordering};

/// A subscriber that is called on the dispatcher's task; it must not block.
pub(super) type Callback = Arc<dyn Fn(&Arc<Batch>) + Send + Sync>;

#[derive(Clone)]
pub(super) enum Target {
    Queue(Arc<Shared>),
    Inline(Callback),
}

impl Target {
    /// Whether room is reserved for it before a batch is published.
    pub(super) fn blocks(&self) -> bool {
        matches!(self, Self::Queue(shared) if shared.credit.is_some())
    }
}

/// One subscriber of one stream. Small: a batch passes all of them.
struct Route {
    subscriber: u64,
    target: Target,
    /// Whether it gets only what room was reserved for.
    blocks: bool,
    /// If it may not want all of every batch.
    choice: Option<Box<Choice>>,
}

/// What a subscriber wants of a stream.
struct Choice {
    filter: Option<Arc<Bound>>,
    interval: Option<Duration>,
    /// Which interval the last batch fell into, for thinning out.
    cell: Option<u128>,
    /// One in so many events.
    sample: u64,
    /// Events to pass over before the next that is kept.
    pass_over: u64,
}

/// Who gets the batches of one stream.
#[derive(Default)]
struct StreamRoutes {
    /// By the subscriber's number.
    single: Vec<Route>,
    groups: Vec<(usize, Option<Arc<Bound>>)>,
}

/// Subscribers that ask for the same get the same batches, and so one list of them.
#[derive(Default)]
struct Group {
    request: String,
    /// By the subscriber's number.
    members: Vec<(u64, Arc<Shared>)>,
    /// Batches since the last list.
    gathered: Vec<Arc<Batch>>,
}

#[derive(Default)]
struct Routes {
    streams: Vec<StreamRoutes>,
    groups: Vec<Group>,
    by_request: HashMap<String, usize>,
    /// Groups that have gathered something.
    dirty: Vec<usize>,
}

/// Batches and changes that are handled before other tasks of the executor have their turn.
const TURN: usize = 1024;

/// Serves the inbox until it ends. `shared_reads` counts the reads that further subscribers of
/// the same batch did not need.
pub(super) async fn run(inbox: Arc<Inbox>, shared_reads: Arc<AtomicU64>) {
    let mut routes = Routes::default();
    let mut entries = Vec::new();
    while poll_fn(|context| inbox.poll_take(&mut entries, context)).await {
        loop {
            let saved = routes.serve(entries.drain(..entries.len().min(TURN)));
            shared_reads.fetch_add(saved, Ordering::Relaxed);
            if entries.is_empty() {
                break;
            }
            tokio::task::yield_now().await;
        }
        entries.shrink_to(TURN); // a flood is over some time
    }
}

/// Most batches in one list.
const LIST: usize = 64;

impl Routes {
    /// Hands over what has come; says how many reads that saved.
    fn serve(&mut self, entries: impl Iterator<Item = Entry>) -> u64 {
        let mut saved = 0;
        for entry in entries {
            match entry {
                Entry::Batch { stream, batch, reserved } => {
                    saved += self.deliver(stream, batch, reserved.as_deref().unwrap_or_default());
                }
                Entry::Change(change) => {
                    self.hand_out(); // to those who were there
                    self.apply(*change);
                }
            }
        }
        self.hand_out();
        saved
    }

    fn apply(&mut self, change: Change) {
        match change {
            Change::Attach { stream, subscriber, filter, interval } => {
                self.attach(stream, &subscriber, filter, interval);
            }
            Change::Detach { streams, subscriber } => self.detach(&streams, &subscriber),
            Change::Forget { stream } => {
                if let Some(routes) = self.streams.get_mut(stream) {
                    *routes = StreamRoutes::default();
                }
            }
        }
    }

    fn attach(
        &mut self,
        stream: StreamId,
        subscriber: &Subscriber,
        filter: Option<Arc<Bound>>,
        interval: Option<Duration>,
    ) {
        if self.streams.len() <= stream {
            self.streams.resize_with(stream + 1, StreamRoutes::default);
        }
        let routes = &mut self.streams[stream];
        let Subscriber { id, request, target } = subscriber;
        let grouped = match target {
            Target::Queue(shared) => request.group().map(|request| (request, shared)),
            Target::Inline(_) => None,
        };
        let Some((request, shared)) = grouped else {
            if let Err(place) = routes.single.binary_search_by_key(id, |route| route.subscriber) {
                routes.single.insert(place, Route::new(subscriber, filter, interval));
            }
            return;
        };
        let groups = &mut self.groups;
        let group = *self.by_request.entry(request).or_insert_with_key(|request| {
            let free = groups.iter().position(|group| group.members.is_empty());
            let index = free.unwrap_or(groups.len());
            groups.resize_with(groups.len().max(index + 1), Group::default);
            groups[index].request.clone_from(request);
            index
        });
        let members = &mut groups[group].members;
        if let Err(place) = members.binary_search_by_key(id, |member| member.0) {
            members.insert(place, (*id, shared.clone()));
        }
        if routes.groups.iter().all(|(other, _)| *other != group) {
            routes.groups.push((group, filter));
        }
    }

    /// Takes a subscriber out of these streams, which are all that it has.
    fn detach(&mut self, streams: &[StreamId], subscriber: &Subscriber) {
        let Subscriber { id, request, .. } = subscriber;
        let group = request.group().and_then(|request| self.by_request.get(&request));
        let emptied = group.copied().filter(|index| {
            let members = &mut self.groups[*index].members;
            if let Ok(place) = members.binary_search_by_key(id, |member| member.0) {
                members.remove(place);
            }
            members.is_empty()
        });
        for stream in streams {
            let Some(routes) = self.streams.get_mut(*stream) else { continue };
            if let Ok(place) = routes.single.binary_search_by_key(id, |route| route.subscriber) {
                routes.single.remove(place);
            }
            routes.groups.retain(|(group, _)| Some(*group) != emptied);
        }
        if let Some(emptied) = emptied {
            self.by_request.remove(&self.groups[emptied].request);
        }
    }

    /// Hands a batch over, or gathers it; says how many reads that saved.
    fn deliver(&mut self, stream: StreamId, batch: Arc<Batch>, reserved: &[Arc<Shared>]) -> u64 {
        if self.streams.len() <= stream {
            self.streams.resize_with(stream + 1, StreamRoutes::default);
        }
        let routes = &mut self.streams[stream];
        for shared in reserved {
            if !routes.single.iter().any(|route| route.subscriber == shared.id) {
                shared.give_credit(1); // the stream has been replaced
            }
        }
        let is_event = batch.stream.schema.kind == StreamKind::Event;
        let mut served = 0;
        for route in &mut routes.single {
            let has_room =
                !route.blocks || reserved.iter().any(|shared| shared.id == route.subscriber);
            served += u64::from(has_room && route.deliver(&batch, is_event));
        }
        let mut full = false;
        let last = routes.groups.len().saturating_sub(1);
        let mut batch = Some(batch);
        for (index, (group, filter)) in routes.groups.iter().enumerate() {
            let whole = if index == last { batch.take() } else { batch.clone() };
            let Some(whole) = whole else { break };
            let to = &mut self.groups[*group];
            let Some(wanted) = to.filter(filter.as_deref(), whole) else { continue };
            served += to.members.len() as u64;
            if to.gathered.is_empty() {
                self.dirty.push(*group);
            }
            to.gathered.push(wanted);
            full |= to.gathered.len() >= LIST;
        }
        if full {
            self.hand_out();
        }
        if is_event { 0 } else { served.saturating_sub(1) }
    }

    /// Hands out what was gathered.
    fn hand_out(&mut self) {
        for index in self.dirty.drain(..) {
            self.groups[index].hand_out();
        }
    }
}

impl Group {
    /// What the members want of a batch. What they don't is counted.
    fn filter(&self, filter: Option<&Bound>, batch: Arc<Batch>) -> Option<Arc<Batch>> {
        let Some(filter) = filter else { return Some(batch) };
        let wanted = filter.select(&batch);
        let left_out = batch.rows() - wanted.as_ref().map_or(0, |wanted| wanted.rows());
        if left_out > 0 {
            let left_out = LeftOut { filter_records: left_out as u64, ..LeftOut::default() };
            self.members.iter().for_each(|(_, member)| member.count_left_out(left_out));
        }
        wanted
    }

    fn hand_out(&mut self) {
        match &self.members[..] {
            [] => self.gathered.clear(),
            all if self.gathered.len() == 1 => {
                let (last, others) = (all.len() - 1, self.gathered.iter());
                all[..last].iter().for_each(|(_, member)| member.deliver(others.clone().cloned()));
                all[last].1.deliver(self.gathered.drain(..));
            }
            all => {
                let list: Arc<[Arc<Batch>]> = self.gathered.drain(..).collect();
                let records = list.iter().map(|batch| batch.rows()).sum();
                all.iter().for_each(|(_, member)| member.deliver_list(&list, records));
            }
        }
    }
}

impl Route {
    fn new(
        subscriber: &Subscriber,
        filter: Option<Arc<Bound>>,
        interval: Option<Duration>,
    ) -> Self {
        let Subscriber { id, request, target } = subscriber;
        let sample = request.sample;
        let chooses = filter.is_some() || interval.is_some() || sample > 1;
        let choice = || Box::new(Choice { filter, interval, cell: None, sample, pass_over: 0 });
        Self {
            subscriber: *id,
            target: target.clone(),
            blocks: target.blocks(),
            choice: chooses.then(choice),
        }
    }

    /// Hands over what the subscriber wants of a batch; says whether that was anything.
    fn deliver(&mut self, batch: &Arc<Batch>, is_event: bool) -> bool {
        let Some(choice) = &mut self.choice else {
            match &self.target {
                Target::Queue(shared) => shared.deliver(std::iter::once(batch.clone())),
                Target::Inline(call) => call(batch),
            }
            return true;
        };
        let mut left_out = LeftOut::default();
        let wanted = choice.wanted(batch, is_event, &mut left_out);
        match (&self.target, &wanted) {
            (Target::Queue(shared), Some(wanted)) => {
                shared.deliver(std::iter::once(wanted.clone()));
            }
            (Target::Queue(shared), None) => shared.give_credit(1), // reserved, and not needed
            (Target::Inline(call), Some(wanted)) => call(wanted),
            (Target::Inline(_), None) => {}
        }
        if let Target::Queue(shared) = &self.target
            && left_out != LeftOut::default()
        {
            shared.count_left_out(left_out);
        }
        wanted.is_some()
    }
}

impl Choice {
    fn wanted(
        &mut self,
        batch: &Arc<Batch>,
        is_event: bool,
        left_out: &mut LeftOut,
    ) -> Option<Arc<Batch>> {
        if !is_event && !self.is_due(batch) {
            left_out.interval_batches = 1;
            return None;
        }
        let wanted = match &self.filter {
            Some(filter) => filter.select(batch),
            None => Some(batch.clone()),
        };
        left_out.filter_records =
            (batch.rows() - wanted.as_ref().map_or(0, |some| some.rows())) as u64;
        let wanted = wanted?;
        if !is_event || self.sample <= 1 {
            return Some(wanted);
        }
        let count = wanted.rows() as u64;
        let is_kept = |row: &u64| {
            row.checked_sub(self.pass_over).is_some_and(|after| after.is_multiple_of(self.sample))
        };
        let rows: Vec<usize> = (0..count).filter(is_kept).map(|row| row as usize).collect();
        self.pass_over = match rows.last() {
            Some(last) => *last as u64 + self.sample - count,
            None => self.pass_over - count,
        };
        left_out.sample_records = count - rows.len() as u64;
        (!rows.is_empty()).then(|| Arc::new(wanted.select(&rows)))
    }

    /// Whether the batch is the first of its interval. Ticks are aligned to whole intervals, and
    /// arrive a little late, never early.
    fn is_due(&mut self, batch: &Batch) -> bool {
        let Some(interval) = self.interval else { return true };
        let cell = Some(batch.due.as_nanos() / interval.as_nanos());
        std::mem::replace(&mut self.cell, cell) != cell
    }
}
