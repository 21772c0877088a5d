/// A test, in one line, that a plugin keeps what every plugin must:
/// [`testing::contract`](crate::testing::contract) lists it. It runs on the machine that runs the
/// tests, with default settings unless others are given.
///
/// ```
/// # use dropsonde_plugin_api::prelude::*;
/// # /// A number.
/// # #[derive(Record)]
/// # struct Answer {
/// #     /// The number.
/// #     #[gauge(unit = "1")]
/// #     answer: u64,
/// # }
/// # impl Collector for Answer {
/// #     type Settings = NoSettings;
/// #     type Streams = (Answer,);
/// #     fn create(_: NoSettings, _: Host) -> Result<Self> { Ok(Self { answer: 42 }) }
/// #     fn collect(&mut self, out: &mut Batch) -> Result<()> { out.push(Self { answer: 42 }) }
/// # }
/// dropsonde_plugin_api::contract_test!(collector = Answer);
/// # fn main() {}
/// ```
///
/// An event source is `events = Watcher`. Settings are written as JSON, a fixture that must live
/// as long as the test is named before them:
///
/// ```text
/// contract_test!(collector = Mounts, settings = { "timeout_ms": 60000 });
/// contract_test!(events = Watcher, let proc = Fixture::new().file("uptime", "1.0 2.0\n"),
///                settings = { "proc_root": proc.root() });
/// ```
///
/// With the path of a file at the end, a second test compares what the plugin declares with it, as
/// [`assert_streams`](crate::testing::assert_streams) does:
///
/// ```text
/// contract_test!(collector = Answer, streams = "streams.txt");
/// ```
///
/// The tests are called `keeps_the_contract` and `the_streams_are_those_that_were_released`: use it
/// once a module.
#[macro_export]
macro_rules! contract_test {
    ($kind:ident = $type:ty $(, let $fixture:ident = $made:expr)?
     $(, streams = $file:literal)? $(,)?) => {
        $crate::contract_test!(
            $kind = $type $(, let $fixture = $made)?, settings = {} $(, streams = $file)?
        );
    };
    ($kind:ident = $type:ty $(, let $fixture:ident = $made:expr)?, settings = $settings:tt
     $(, streams = $file:literal)? $(,)?) => {
        #[test]
        fn keeps_the_contract() {
            $(let $fixture = $made;)?
            let settings = $crate::testing::json!($settings);
            $crate::testing::contract::assert_kept(
                &$crate::testing::contract::$kind::<$type>(settings),
            );
        }
        $(
            /// What others build on: dashboards, queries, alerts.
            #[test]
            fn the_streams_are_those_that_were_released() {
                $crate::testing::released::$kind::<$type>($file);
            }
        )?
    };
}
