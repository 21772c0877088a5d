//! The dispatcher: takes batches from all publishers and hands each to its subscribers. One
//! task, so its routes need no lock, and publishing costs the same however many subscribe.

use std::borrow::Cow;
use std::collections::HashMap;
use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use dropsonde_plugin_api::schema::StreamKind;

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
    Inline { id: u64, interval: Option<Duration>, sample: u64, call: Callback },
}

impl Target {
    pub(super) fn id(&self) -> u64 {
        match self {
            Self::Queue(shared) => shared.id,
            Self::Inline { id, .. } => *id,
        }
    }

    pub(super) fn interval(&self) -> Option<Duration> {
        match self {
            Self::Queue(shared) => shared.request.interval,
            Self::Inline { interval, .. } => *interval,
        }
    }

    /// Whether room is reserved for it before a batch is published.
    pub(super) fn blocks(&self) -> bool {
        matches!(self, Self::Queue(shared) if shared.credit.is_some())
    }

    fn sample(&self) -> u64 {
        match self {
            Self::Queue(shared) => shared.request.sample,
            Self::Inline { sample, .. } => *sample,
        }
    }
}

/// One subscriber of one stream.
struct Route {
    target: Target,
    filter: Option<Arc<Bound>>,
    /// Whether it may not want all of every batch.
    choosy: bool,
    /// Whether it gets only what room was reserved for.
    blocks: bool,
    /// Which interval the last batch fell into, for thinning out.
    cell: Option<u128>,
    /// Events to pass over before the next that is kept.
    pass_over: u64,
}

/// Who gets the batches of one stream.
#[derive(Default)]
struct StreamRoutes {
    /// By the subscriber's number.
    single: Vec<(u64, Route)>,
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
            Change::Attach { stream, target, filter } => self.attach(stream, target, filter),
            Change::Detach { streams, subscriber } => self.detach(&streams, &subscriber),
            Change::Forget { stream } => {
                if let Some(routes) = self.streams.get_mut(stream) {
                    *routes = StreamRoutes::default();
                }
            }
        }
    }

    fn attach(&mut self, stream: StreamId, target: Target, filter: Option<Arc<Bound>>) {
        if self.streams.len() <= stream {
            self.streams.resize_with(stream + 1, StreamRoutes::default);
        }
        let routes = &mut self.streams[stream];
        let grouped = match &target {
            Target::Queue(shared) => shared.request.group().map(|request| (request, shared)),
            Target::Inline { .. } => None,
        };
        let Some((request, shared)) = grouped else {
            let id = target.id();
            put(&mut routes.single, id, || Route::new(target, filter));
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
        put(&mut groups[group].members, shared.id, || shared.clone());
        if routes.groups.iter().all(|(other, _)| *other != group) {
            routes.groups.push((group, filter));
        }
    }

    /// Takes a subscriber out of these streams, which are all that it has.
    fn detach(&mut self, streams: &[StreamId], subscriber: &Shared) {
        let id = subscriber.id;
        let group = subscriber.request.group().and_then(|request| self.by_request.get(&request));
        let emptied = group.copied().filter(|index| {
            let group = &mut self.groups[*index];
            remove(&mut group.members, id);
            group.members.is_empty()
        });
        for stream in streams {
            let Some(routes) = self.streams.get_mut(*stream) else { continue };
            remove(&mut routes.single, id);
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
            if !routes.single.iter().any(|(id, _)| *id == shared.id) {
                shared.give_credit(1); // the stream has been replaced
            }
        }
        let is_event = batch.stream.schema.kind == StreamKind::Event;
        let mut served = 0;
        for (id, route) in &mut routes.single {
            let has_room = !route.blocks || reserved.iter().any(|shared| shared.id == *id);
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

/// Puts a value at its place by number, unless one is there.
fn put<T>(all: &mut Vec<(u64, T)>, id: u64, value: impl FnOnce() -> T) {
    if let Err(place) = all.binary_search_by_key(&id, |(other, _)| *other) {
        all.insert(place, (id, value()));
    }
}

fn remove<T>(all: &mut Vec<(u64, T)>, id: u64) {
    if let Ok(place) = all.binary_search_by_key(&id, |(other, _)| *other) {
        all.remove(place);
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
            [(_, only)] => only.deliver(self.gathered.drain(..)),
            all if self.gathered.len() == 1 => {
                all.iter().for_each(|(_, member)| member.deliver(self.gathered.iter().cloned()));
                self.gathered.clear();
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
    fn new(target: Target, filter: Option<Arc<Bound>>) -> Self {
        let choosy = filter.is_some() || target.interval().is_some() || target.sample() > 1;
        let blocks = target.blocks();
        Self { target, filter, choosy, blocks, cell: None, pass_over: 0 }
    }

    /// Hands over what the subscriber wants of a batch; says whether that was anything.
    fn deliver(&mut self, batch: &Arc<Batch>, is_event: bool) -> bool {
        if !self.choosy {
            self.hand_over(Cow::Borrowed(batch));
            return true;
        }
        let mut left_out = LeftOut::default();
        let wanted = self.wanted(batch, is_event, &mut left_out);
        if let Target::Queue(shared) = &self.target {
            if left_out != LeftOut::default() {
                shared.count_left_out(left_out);
            }
            if wanted.is_none() {
                shared.give_credit(1); // reserved, and not needed
            }
        }
        let served = wanted.is_some();
        if let Some(wanted) = wanted {
            self.hand_over(wanted);
        }
        served
    }

    fn hand_over(&self, batch: Cow<'_, Arc<Batch>>) {
        match &self.target {
            Target::Queue(shared) => shared.deliver(std::iter::once(batch.into_owned())),
            Target::Inline { call, .. } => call(&batch),
        }
    }

    fn wanted<'a>(
        &mut self,
        batch: &'a Arc<Batch>,
        is_event: bool,
        left_out: &mut LeftOut,
    ) -> Option<Cow<'a, Arc<Batch>>> {
        if !is_event && !self.is_due(batch) {
            left_out.interval_batches = 1;
            return None;
        }
        let wanted = match &self.filter {
            Some(filter) => filter.select(batch).map(Cow::Owned),
            None => Some(Cow::Borrowed(batch)),
        };
        left_out.filter_records =
            (batch.rows() - wanted.as_ref().map_or(0, |some| some.rows())) as u64;
        let (wanted, one_in) = (wanted?, self.target.sample());
        if !is_event || one_in <= 1 {
            return Some(wanted);
        }
        let count = wanted.rows() as u64;
        let is_kept = |row: &u64| {
            row.checked_sub(self.pass_over).is_some_and(|after| after.is_multiple_of(one_in))
        };
        let rows: Vec<usize> = (0..count).filter(is_kept).map(|row| row as usize).collect();
        self.pass_over = match rows.last() {
            Some(last) => *last as u64 + one_in - count,
            None => self.pass_over - count,
        };
        left_out.sample_records = count - rows.len() as u64;
        (!rows.is_empty()).then(|| Cow::Owned(Arc::new(wanted.select(&rows))))
    }

    /// Whether the batch is the first of its interval. Ticks are aligned to whole intervals, and
    /// arrive a little late, never early.
    fn is_due(&mut self, batch: &Batch) -> bool {
        let Some(interval) = self.target.interval().filter(|interval| !interval.is_zero()) else {
            return true;
        };
        let cell = Some(batch.due.as_nanos() / interval.as_nanos());
        std::mem::replace(&mut self.cell, cell) != cell
    }
}
