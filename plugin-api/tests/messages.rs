//! What an author reads who makes one of the likely mistakes: each message names the fix.

#[test]
fn a_mistake_is_answered_with_its_fix() {
    trybuild::TestCases::new().compile_fail("tests/messages/*.rs");
}
