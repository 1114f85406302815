use std::time::Duration;

use futures_util::FutureExt;
use tokio::time::timeout;

use super::growing::PIECE_OVERHEAD;
use super::transit::SMALL_WINDOW_BYTES;
use super::*;
use crate::http::Fields;

const SOON: Duration = Duration::from_millis(50);

fn piece(length: usize) -> Bytes {
    Bytes::from(vec![b'x'; length])
}

async fn read_all(mut reader: BodyReader) -> Result<usize, BodyFailed> {
    let mut bytes = 0;
    while let Some(piece) = reader.next().await? {
        bytes += piece.len();
    }
    Ok(bytes)
}

#[tokio::test]
async fn first_bytes_are_read_before_the_last_are_written() {
    let mut writer = Body::write(Growth::Kept { bytes_max: 100 }, &Transit::new(10));
    let mut early = writer.body().reader().expect("nothing is dropped yet");
    writer.push(piece(3)).await.expect("kept");
    assert_eq!(
        early.next().await.expect("growing").map(|p| p.len()),
        Some(3)
    );
    assert!(
        timeout(SOON, early.next()).await.is_err(),
        "there is nothing to read yet"
    );

    let late = tokio::spawn(read_all(writer.body().reader().expect("kept")));
    writer.push(piece(4)).await.expect("kept");
    let body = writer.body().clone();
    writer.finish(None);
    assert_eq!(late.await.expect("no panic"), Ok(7));
    assert_eq!(read_all(early).await, Ok(4));
    assert_eq!(read_all(body.reader().expect("complete")).await, Ok(7));
    assert_eq!(
        body.pieces().map(<[Bytes]>::len),
        Some(1),
        "small bodies end in one piece"
    );
}

#[tokio::test]
async fn writer_of_a_body_in_transit_waits_for_the_slowest_reader() {
    let transit = Transit::new(10);
    let mut writer = Body::write(Growth::Transit, &transit);
    let mut fast = writer.body().reader().expect("new");
    let mut slow = writer.body().reader().expect("new");
    writer.push(piece(8)).await.expect("within the window");
    assert!(
        timeout(SOON, writer.push(piece(8))).await.is_err(),
        "16 unread bytes pass the window of 10"
    );
    fast.next().await.expect("growing");
    fast.next().await.expect("growing");
    assert!(
        writer.body().reader().is_some(),
        "the slow reader still holds the first piece"
    );
    let weight = writer.body().weight();
    assert_eq!(transit.held_bytes(), 16);
    slow.next().await.expect("growing");
    assert_eq!(transit.held_bytes(), 8);
    assert!(
        writer.body().weight() < weight,
        "what all have read is dropped"
    );
    assert!(writer.body().reader().is_none(), "the beginning is gone");
    timeout(SOON, writer.push(piece(1)))
        .await
        .expect("room again")
        .expect("two readers");
    drop((fast, slow));
    assert_eq!(writer.push(piece(1)).await, Err(Abandoned));
    timeout(SOON, writer.abandoned())
        .await
        .expect("no reader is left");
}

#[tokio::test]
async fn kept_body_past_its_limit_goes_on_in_transit_and_is_not_kept() {
    let mut writer = Body::write(Growth::Kept { bytes_max: 10 }, &Transit::new(1000));
    let reader = writer.body().reader().expect("new");
    let read = tokio::spawn(read_all(reader));
    for _ in 0..10 {
        writer.push(piece(8)).await.expect("one reader");
    }
    let body = writer.body().clone();
    assert!(writer.in_transit());
    writer.finish(None);
    assert_eq!(read.await.expect("no panic"), Ok(80));
    assert!(!body.is_complete());
    assert!(!body.ended().await);
}

#[tokio::test]
async fn kept_body_fills_without_readers() {
    let mut writer = Body::write(Growth::Kept { bytes_max: 100 }, &Transit::new(1));
    drop(writer.body().reader());
    writer.push(piece(50)).await.expect("kept");
    assert!(timeout(SOON, writer.abandoned()).await.is_err());
    let body = writer.body().clone();
    writer.finish(None);
    assert_eq!(body.complete_bytes(), Some(50));
}

#[tokio::test]
async fn dropped_writer_fails_its_readers() {
    let mut writer = Body::write(Growth::Kept { bytes_max: 100 }, &Transit::new(1));
    let mut reader = writer.body().reader().expect("new");
    writer.push(piece(5)).await.expect("kept");
    drop(writer);
    assert!(matches!(reader.next().await, Ok(Some(_))));
    assert_eq!(reader.next().await, Err(BodyFailed));
}

#[tokio::test]
async fn trailers_come_after_the_last_piece() {
    let trailers: Fields = [("Digest", "x")].into_iter().collect();
    for growth in [Growth::Transit, Growth::Kept { bytes_max: 9 }] {
        let mut writer = Body::write(growth, &Transit::new(100));
        let mut reader = writer.body().reader().expect("new");
        writer.push(piece(2)).await.expect("one reader");
        writer.finish(Some(trailers.clone()));
        while reader.next().await.expect("finished").is_some() {}
        assert_eq!(reader.trailers().as_ref(), Some(&trailers));
    }
}

#[test]
fn small_pieces_do_not_hold_the_buffer_they_were_cut_from() {
    let mut writer = Body::write(Growth::Kept { bytes_max: 1 << 20 }, &Transit::new(1));
    let buffer = piece(1 << 16);
    let body = writer.body().clone();
    writer.append(buffer.slice(..10));
    writer.finish(None);
    assert!(
        buffer.try_into_mut().is_ok(),
        "the read buffer is free again"
    );
    assert!(body.weight() < 1000);
}

#[test]
fn reader_that_comes_with_the_end_reads_everything() {
    for _ in 0..20_000 {
        let mut writer = Body::write(Growth::Kept { bytes_max: 100 }, &Transit::new(1));
        writer.append(piece(7));
        let body = writer.body().clone();
        let start = std::sync::Barrier::new(2);
        let mut reader = std::thread::scope(|threads| {
            threads.spawn(|| {
                start.wait();
                writer.finish(None);
            });
            start.wait();
            body.reader().expect("kept")
        });
        let read = reader.next().now_or_never().expect("the body has ended");
        assert_eq!(
            read.map(|piece| piece.map(|piece| piece.len())),
            Ok(Some(7))
        );
    }
}

#[test]
fn failed_body_has_no_new_readers() {
    let mut writer = Body::write(Growth::Kept { bytes_max: 100 }, &Transit::new(1));
    writer.append(piece(7));
    let body = writer.body().clone();
    assert!(body.reader().is_some());
    drop(writer);
    assert!(body.reader().is_none());
}

#[tokio::test]
async fn bodies_that_fill_at_once_share_one_bound() {
    let room = 4 * (100 + PIECE_OVERHEAD);
    let transit = Transit::new(1000).with_bytes_max(room);
    let growth = Growth::Kept { bytes_max: 1000 };
    let mut first = Body::write(growth, &transit);
    let mut second = Body::write(growth, &transit);
    let mut reader = second.body().reader().expect("new");
    for _ in 0..2 {
        first.push(piece(100)).await.expect("kept");
        second.push(piece(100)).await.expect("kept");
    }
    assert_eq!(transit.kept_bytes(), room);
    assert!(!transit.has_room_for(1));

    second.push(piece(1)).await.expect("one reader");
    assert!(second.in_transit() && !first.in_transit());
    assert_eq!(transit.held_bytes(), 201);
    assert_eq!(transit.kept_bytes(), room / 2 + 201, "nothing is read yet");
    reader.next().await.expect("growing");
    assert_eq!(transit.kept_bytes(), room / 2 + 101);
    drop(reader);
    drop(second);
    assert_eq!(transit.kept_bytes(), room / 2);

    let whole = first.body().clone();
    first.finish(None);
    assert!(whole.is_complete());
    assert_eq!(transit.kept_bytes(), 0, "the store weighs it from now on");

    let mut third = Body::write(growth, &transit);
    third.push(piece(100)).await.expect("there is room again");
    drop(third);
    assert_eq!(transit.kept_bytes(), 0, "nobody keeps what broke off");
}

#[tokio::test]
async fn windows_shrink_when_all_bodies_in_transit_hold_too_much() {
    let window = 4 * SMALL_WINDOW_BYTES;
    let transit = Transit::new(window).with_bytes_max(2 * window);
    let mut bodies = Vec::new();
    for _ in 0..10 {
        let mut writer = Body::write(Growth::Transit, &transit);
        let reader = writer.body().reader().expect("new");
        // Nobody reads: each writer goes on until it has to wait.
        while timeout(SOON, writer.push(piece(4096))).await.is_ok() {}
        bodies.push((writer, reader));
    }
    let held = transit.held_bytes();
    assert!(
        held <= 2 * window + 10 * (SMALL_WINDOW_BYTES + 4096),
        "{held}"
    );

    // A client that reads is still served, and the others get their windows back when there is room.
    let (writer, reader) = bodies.last_mut().expect("ten");
    reader.next().await.expect("growing").expect("a piece");
    for _ in 0..100 {
        reader.next().await.expect("growing").expect("a piece");
        timeout(SOON, writer.push(piece(4096)))
            .await
            .expect("room for one more")
            .expect("one reader");
    }
    let (mut writer, _reader) = bodies.pop().expect("ten");
    drop(bodies);
    for _ in 0..8 {
        timeout(SOON, writer.push(piece(4096)))
            .await
            .expect("the whole window")
            .expect("one reader");
    }
}

#[test]
fn settled_body_of_one_piece_has_nothing_else_on_the_heap() {
    let settle = |expected, trailers| {
        let growth = Growth::Kept { bytes_max: 100_000 };
        let mut writer = Body::write_expected(growth, &Transit::new(1), expected);
        let body = writer.body().clone();
        assert_eq!(body.settle(), Outcome::Otherwise, "it has not ended");
        writer.append(piece(3000));
        writer.append(piece(1000));
        writer.finish(trailers);
        let outcome = body.settle();
        assert!(body.growing.load_full().is_none());
        assert_eq!(body.settle(), Outcome::Otherwise, "nobody knows any more");
        assert_eq!(body.pieces().map(<[Bytes]>::len), Some(1));
        outcome
    };
    let trailers = [("Digest", "x")].into_iter().collect();
    assert_eq!(settle(Some(4000), None), Outcome::AsExpected);
    assert_eq!(settle(Some(4001), None), Outcome::Otherwise);
    assert_eq!(settle(None, None), Outcome::Otherwise);
    assert_eq!(settle(Some(4000), Some(trailers)), Outcome::Otherwise);
}

#[tokio::test]
async fn copies_are_of_the_same_body_before_and_after_its_end() {
    let mut writer = Body::write(Growth::Kept { bytes_max: 100 }, &Transit::new(1));
    let body = writer.body().clone();
    let early = body.clone();
    writer.push(piece(5)).await.expect("kept");
    writer.finish(None);
    assert!(body.ended().await);
    let late = body.clone();
    for copy in [&early, &late, &body] {
        assert!(copy.ended().await);
        assert_eq!(copy.complete_bytes(), Some(5));
        assert_eq!(read_all(copy.reader().expect("complete")).await, Ok(5));
    }
    assert_eq!(
        read_all(Body::whole(Bytes::new()).reader().expect("empty")).await,
        Ok(0)
    );
    assert_eq!(Body::whole(Bytes::new()).pieces(), Some(&[][..]));
}
