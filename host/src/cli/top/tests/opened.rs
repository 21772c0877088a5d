//! The stream of a collector that is looked into.

use super::*;

fn looking_into(topic: &str) -> State {
    let mut state = knowing(vec![collector("c", "running", &[topic])]);
    press(&mut state, KeyCode::Enter);
    state
}

/// A batch with a row for each key.
fn rows(topic: &str, keys: std::ops::Range<u32>) -> Batch {
    let keys: Vec<String> = keys.map(|key| format!("key{key}.")).collect();
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    batch(topic, Some(("key", &keys)), &[])
}

#[test]
fn events_are_followed_until_somebody_scrolls_back() {
    let mut state = looking_into("events.c");
    for number in 0..500 {
        state.take_batch(rows("events.c", number..number + 1));
    }
    let text = drawn(&state, 80, 24);
    assert!(text.contains("Stream 1 of 1: events.c\n"), "{text}");
    assert!(text.contains("\nkey498.\n") && text.contains("\nkey499.\n"), "{text}");
    press(&mut state, KeyCode::Up);
    let text = drawn(&state, 80, 24);
    assert!(text.contains("events.c, 1 lines back\n") && !text.contains("key499."), "{text}");
    // It stays where it is as more come, and follows again from the end.
    state.take_batch(rows("events.c", 500..520));
    let later = drawn(&state, 80, 24);
    assert!(later.contains("events.c, 23 lines back\n"), "{later}");
    assert!(later.contains("\nkey498.\n") && !later.contains("key499."), "{later}");
    press(&mut state, KeyCode::End);
    assert!(drawn(&state, 80, 24).contains("\nkey519.\n"));
    press(&mut state, KeyCode::Home);
    let first = drawn(&state, 80, 24);
    assert!(first.contains(" lines back\n") && !first.contains("key519."), "{first}");
}

#[test]
fn a_table_that_shrinks_below_where_it_was_scrolled_to_is_still_seen() {
    let mut state = looking_into("metrics.c");
    state.take_batch(rows("metrics.c", 0..100));
    press(&mut state, KeyCode::End);
    assert!(drawn(&state, 80, 24).contains("\nKEY\nkey99.\n"));
    state.take_batch(rows("metrics.c", 0..3));
    assert!(drawn(&state, 80, 24).contains("\nKEY\nkey2.\n"));
    press(&mut state, KeyCode::Up);
    assert!(drawn(&state, 80, 24).contains("\nKEY\nkey1.\nkey2.\n"));
}
