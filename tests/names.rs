//! Names of hosts, and their addresses.

use std::io;
use std::task::Poll;

#[test]
fn a_wait_that_is_dropped_leaves_the_lookup_to_itself() {
    gimmal::run(async {
        let mut lookup = Box::pin(gimmal::net::lookup_host("localhost:80"));
        std::future::poll_fn(|cx| Poll::Ready(lookup.as_mut().poll(cx).is_pending())).await;
        drop(lookup);
        let addrs = gimmal::net::lookup_host(("localhost", 80)).await?;
        assert!(!addrs.is_empty() && addrs.iter().all(|addr| addr.ip().is_loopback()));
        io::Result::Ok(())
    })
    .unwrap();
}

#[test]
fn a_name_that_does_not_resolve_is_an_error_with_the_name() {
    gimmal::run(async {
        let error = gimmal::net::lookup_host("nobody.invalid:80")
            .await
            .unwrap_err();
        assert!(error.to_string().contains("nobody.invalid"), "{error}");
        io::Result::Ok(())
    })
    .unwrap();
}
