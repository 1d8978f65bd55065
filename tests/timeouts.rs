//! Timeouts.

#![expect(clippy::unwrap_used, reason = "a test fails there")]

use gimmal::prelude::*;
use gimmal::time::timeout;
use std::io;
use std::time::Duration;

const SHORT: Duration = Duration::from_millis(2);
const LONG: Duration = Duration::from_secs(3600);

#[test]
fn a_sleep_that_is_too_long_times_out() {
    gimmal::run(async {
        let error = timeout(SHORT, gimmal::sleep(LONG)).await.unwrap_err();
        assert!(error.is_timeout());
        assert!(gimmal::is_timeout(&io::Error::from(error)));
        let text = gimmal::fs::read_to_string("Cargo.toml")
            .timeout(LONG)
            .await?;
        assert!(!text.is_empty());
        let error = timeout(SHORT, std::future::pending::<io::Result<()>>())
            .await
            .unwrap_err();
        assert!(error.is_timeout());
        assert!(error.inner().is_none());
        Ok::<_, io::Error>(())
    })
    .unwrap();
}
