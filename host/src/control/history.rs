//! What was stored, read for whoever asks.

use super::Host;
use crate::history::read::{Answer, Question, ReadError};

impl Host {
    /// Answers from what was stored, within 5 s and the wait for others. `None`: nothing is stored.
    pub(crate) async fn history(&self, question: Question) -> Option<Result<Answer, ReadError>> {
        self.services.history.read(question).await
    }
}
