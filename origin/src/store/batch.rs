//! Groups of writes: how they are laid out as statements and carried out.
//!
//! A group gives each write the meaning that it has alone. Writes to different keys
//! share a statement; a second write to a key goes into a later statement of the same
//! transaction, where it sees the first.

use std::collections::HashMap;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;
use std::time::SystemTime;

use futures_util::future::{MaybeDone, maybe_done};
use tokio_postgres::types::ToSql;
use tokio_postgres::{Error, Row};

use super::StoreError;
use super::connect::Session;
use super::error::{Failure, failure};
use super::rows::{from_system_time, to_system_time};
use crate::kv::{
    BucketName, Expiry, Outcome, Revision, RevisionList, Timestamps, Write, WriteAction, Written,
};

/// Attempts at a write that races with other programs, or that PostgreSQL rolls back for a deadlock.
const ATTEMPTS_MAX: usize = 20;

/// Most writes in one `judge.sql`: it joins what it did to what it was asked, in time that
/// grows with the square of their number.
const JUDGED_MAX: usize = 256;

/// What one statement says of one write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    Done(Outcome),
    /// Another connection made the key meanwhile; nothing was written.
    Raced,
}

/// One statement: positions of its writes, sorted by key, so that two programs take
/// their locks in one order.
#[derive(Debug, PartialEq, Eq)]
enum Statement {
    /// `put.sql`.
    Put(Vec<usize>),
    /// `judge.sql`, for one bucket.
    Judge(Vec<usize>),
}

/// Lays writes out as statements, in an order that keeps the order of each key's writes.
fn plan(writes: &[Write]) -> Vec<Statement> {
    let mut seen: HashMap<(&str, &str), usize> = HashMap::with_capacity(writes.len());
    let mut rounds: Vec<Vec<usize>> = Vec::new();
    for (position, write) in writes.iter().enumerate() {
        let round = seen
            .entry((write.bucket.as_str(), write.key.as_str()))
            .or_default();
        if rounds.len() == *round {
            rounds.push(Vec::new());
        }
        rounds[*round].push(position);
        *round += 1;
    }
    let mut statements = Vec::new();
    for mut round in rounds {
        round.sort_by(|&a, &b| {
            (&writes[a].bucket, &writes[a].key).cmp(&(&writes[b].bucket, &writes[b].key))
        });
        let (plain, conditional): (Vec<usize>, Vec<usize>) = round
            .into_iter()
            .partition(|&position| is_plain(&writes[position]));
        if !plain.is_empty() {
            statements.push(Statement::Put(plain));
        }
        let same_bucket = |a: &usize, b: &usize| writes[*a].bucket == writes[*b].bucket;
        statements.extend(
            conditional
                .chunk_by(same_bucket)
                .flat_map(|chunk| chunk.chunks(JUDGED_MAX))
                .map(|chunk| Statement::Judge(chunk.to_vec())),
        );
    }
    statements
}

/// Whether `put.sql` can decide the write.
fn is_plain(write: &Write) -> bool {
    let conditions = &write.conditions;
    match &write.action {
        WriteAction::Delete => false,
        WriteAction::Put { expiry, dated, .. } => {
            conditions.if_match.is_none()
                && conditions.if_none_match.is_none()
                && conditions.unmodified_since == *dated
                && !matches!(expiry, Expiry::Keep(_))
        }
    }
}

/// Carries out a lane's group. Each write is answered for itself, whatever becomes of the others.
pub(super) async fn run_group(
    session: &Session,
    writes: &[Write],
) -> Vec<Result<Outcome, StoreError>> {
    let statements = plan(writes);
    let answered = match &statements[..] {
        [] => return Vec::new(),
        [statement] => execute(session, statement, writes).await,
        _ => execute_together(session, &statements, writes).await,
    };
    match answered {
        Ok(answers) => {
            let mut outcomes = Vec::with_capacity(writes.len());
            for (position, answer) in in_order(answers, writes.len()).into_iter().enumerate() {
                outcomes.push(match answer {
                    Answer::Done(outcome) => Ok(outcome),
                    Answer::Raced => run_alone(session, &writes[position]).await,
                });
            }
            outcomes
        }
        Err(error) => {
            session.learn_from(&error);
            match failure(&error) {
                // The connection is gone: any of them may have been committed.
                Failure::Lost => all(writes, || StoreError::OutcomeUnknown),
                // Nothing was changed, and to try one by one would take as long again for each.
                Failure::Unavailable => all(writes, || StoreError::Unavailable),
                Failure::Refused if writes.len() == 1 => vec![Err(StoreError::Database(error))],
                // Everything was rolled back. One write's fault must not be the others'.
                Failure::Refused | Failure::Retry => {
                    let mut outcomes = Vec::with_capacity(writes.len());
                    for write in writes {
                        outcomes.push(run_alone(session, write).await);
                    }
                    outcomes
                }
            }
        }
    }
}

fn all(writes: &[Write], error: impl Fn() -> StoreError) -> Vec<Result<Outcome, StoreError>> {
    writes.iter().map(|_| Err(error())).collect()
}

async fn run_alone(session: &Session, write: &Write) -> Result<Outcome, StoreError> {
    let writes = std::slice::from_ref(write);
    let statement = if is_plain(write) {
        Statement::Put(vec![0])
    } else {
        Statement::Judge(vec![0])
    };
    for _ in 0..ATTEMPTS_MAX {
        if !session.is_usable() {
            // Lost between two statements: nothing of this one was sent.
            return Err(StoreError::Unavailable);
        }
        match execute(session, &statement, writes).await {
            Ok(answers) => match answers[..] {
                [(_, Answer::Done(outcome))] => return Ok(outcome),
                _ => continue,
            },
            Err(error) if failure(&error) == Failure::Retry => continue,
            Err(error) => {
                session.learn_from(&error);
                return Err(StoreError::writing(error));
            }
        }
    }
    Err(StoreError::Unavailable)
}

/// Carries out writes in one transaction: all, or none.
pub(super) async fn run_transaction(
    session: &Session,
    writes: &[Write],
) -> Result<Vec<Outcome>, StoreError> {
    let statements = plan(writes);
    for _ in 0..ATTEMPTS_MAX {
        match try_transaction(session, &statements, writes).await {
            Ok(Some(answers)) => {
                let done = in_order(answers, writes.len())
                    .into_iter()
                    .map(|answer| match answer {
                        Answer::Done(outcome) => Ok(outcome),
                        Answer::Raced => Err(StoreError::Unavailable),
                    });
                return done.collect();
            }
            Ok(None) => continue,
            Err(error) if failure(&error) == Failure::Retry => {
                session
                    .client
                    .batch_execute("ROLLBACK")
                    .await
                    .map_err(StoreError::harmless)?;
            }
            Err(error) => {
                session.learn_from(&error);
                // A lost connection has rolled back, unless it was lost in COMMIT.
                if failure(&error) != Failure::Lost
                    && session.client.batch_execute("ROLLBACK").await.is_err()
                {
                    session.discard();
                }
                return Err(StoreError::writing(error));
            }
        }
    }
    Err(StoreError::Unavailable)
}

/// `None`: rolled back because of a race.
async fn try_transaction(
    session: &Session,
    statements: &[Statement],
    writes: &[Write],
) -> Result<Option<Vec<(usize, Answer)>>, Error> {
    session.client.batch_execute("BEGIN").await?;
    let mut answers = Vec::with_capacity(writes.len());
    for statement in statements {
        answers.extend(execute(session, statement, writes).await?);
    }
    if answers.iter().any(|(_, answer)| *answer == Answer::Raced) {
        session.client.batch_execute("ROLLBACK").await?;
        return Ok(None);
    }
    session.client.batch_execute("COMMIT").await?;
    Ok(Some(answers))
}

/// Sends a whole transaction without waiting in between. When a statement fails, those
/// behind it fail too and COMMIT rolls back, so the first error speaks for all.
async fn execute_together(
    session: &Session,
    statements: &[Statement],
    writes: &[Write],
) -> Result<Vec<(usize, Answer)>, Error> {
    let begin = session.client.batch_execute("BEGIN");
    let work = all_in_order(
        statements
            .iter()
            .map(|statement| execute(session, statement, writes)),
    );
    let commit = session.client.batch_execute("COMMIT");
    // join! polls in this order, and polling is what sends.
    let (begun, answered, committed) = tokio::join!(biased; begin, work, commit);
    begun?;
    let mut answers = Vec::with_capacity(writes.len());
    for answer in answered {
        answers.extend(answer?);
    }
    committed?;
    Ok(answers)
}

/// Runs futures together and polls them in their order, each of them whenever any is polled.
///
/// `join_all` does not promise that: of many futures it may leave some for later when others
/// wake meanwhile. Then COMMIT would be sent before the last statements.
async fn all_in_order<F: Future>(futures: impl Iterator<Item = F>) -> Vec<F::Output> {
    let mut running: Vec<Pin<Box<MaybeDone<F>>>> =
        futures.map(|future| Box::pin(maybe_done(future))).collect();
    poll_fn(|context| {
        let mut is_done = true;
        for future in &mut running {
            is_done &= future.as_mut().poll(context).is_ready();
        }
        if is_done {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    })
    .await;
    running
        .iter_mut()
        .filter_map(|future| future.as_mut().take_output())
        .collect()
}

async fn execute(
    session: &Session,
    statement: &Statement,
    writes: &[Write],
) -> Result<Vec<(usize, Answer)>, Error> {
    match statement {
        Statement::Put(positions) => put(session, positions, writes).await,
        Statement::Judge(positions) => judge(session, positions, writes).await,
    }
}

fn in_order(mut answers: Vec<(usize, Answer)>, count: usize) -> Vec<Answer> {
    answers.sort_by_key(|(position, _)| *position);
    assert_eq!(
        answers.len(),
        count,
        "each write is in one statement, and each statement answers for its own"
    );
    answers.into_iter().map(|(_, answer)| answer).collect()
}

/// The columns that both statements take of a Put; a delete brings none.
#[derive(Default)]
struct Columns<'a> {
    heads: Vec<&'a str>,
    tails: Vec<&'a str>,
    dated: Vec<Option<SystemTime>>,
    ttl_seconds: Vec<Option<i64>>,
    keeps_expiry: Vec<bool>,
    last_write: Vec<i16>,
    content_types: Vec<&'a str>,
    content_encodings: Vec<Option<&'a str>>,
    data: Vec<&'a [u8]>,
}

impl<'a> Columns<'a> {
    fn of(positions: &[usize], writes: &'a [Write]) -> Self {
        let mut columns = Self::default();
        for &position in positions {
            columns.push(&writes[position]);
        }
        columns
    }

    fn push(&mut self, write: &'a Write) {
        let (head, tail) = write.key.split();
        self.heads.push(head);
        self.tails.push(tail);
        let WriteAction::Put {
            value,
            expiry,
            dated,
            timestamps,
        } = &write.action
        else {
            self.dated.push(None);
            self.ttl_seconds.push(None);
            self.keeps_expiry.push(false);
            self.last_write.push(1);
            self.content_types.push("");
            self.content_encodings.push(None);
            self.data.push(b"");
            return;
        };
        // See `last_write` in the first migration.
        let (last_write, dated) = match (timestamps, dated) {
            (Timestamps::Server, _) => (3, None),
            (Timestamps::Client, Some(date)) => (2, Some(to_system_time(*date))),
            (Timestamps::Client, None) => (1, None),
        };
        let (ttl_seconds, keeps_expiry) = match *expiry {
            Expiry::Seconds(seconds) => (Some(seconds), false),
            Expiry::Never => (None, false),
            Expiry::Keep(seconds) => (seconds, true),
        };
        self.dated.push(dated);
        self.ttl_seconds.push(ttl_seconds);
        self.keeps_expiry.push(keeps_expiry);
        self.last_write.push(last_write);
        self.content_types.push(&value.content_type);
        self.content_encodings
            .push(value.content_encoding.as_deref());
        self.data.push(&value.data);
    }
}

async fn put(
    session: &Session,
    positions: &[usize],
    writes: &[Write],
) -> Result<Vec<(usize, Answer)>, Error> {
    let buckets: Vec<&str> = positions
        .iter()
        .map(|&position| writes[position].bucket.as_str())
        .collect();
    let columns = Columns::of(positions, writes);
    let parameters: [&(dyn ToSql + Sync); 9] = [
        &buckets,
        &columns.heads,
        &columns.tails,
        &columns.dated,
        &columns.ttl_seconds,
        &columns.last_write,
        &columns.content_types,
        &columns.content_encodings,
        &columns.data,
    ];
    let rows = session
        .client
        .query(&session.statements().put, &parameters)
        .await?;
    // A rejected write has no row; the positions are sorted by bucket and key.
    let mut answers: Vec<(usize, Answer)> = positions
        .iter()
        .map(|&position| (position, Answer::Done(Outcome::Rejected(None))))
        .collect();
    for row in &rows {
        let (bucket, head, tail): (&str, &str, &str) = (
            row.try_get("bucket")?,
            row.try_get("key_head")?,
            row.try_get("key_tail")?,
        );
        let found = positions.binary_search_by(|&position| {
            let write = &writes[position];
            (write.bucket.as_str(), write.key.split()).cmp(&(bucket, (head, tail)))
        });
        let index = found.expect("PostgreSQL returns only rows that it was given");
        let last_write: i16 = row.try_get("last_write")?;
        let written = written(row)?;
        let outcome = if last_write <= 3 {
            Outcome::Inserted(written)
        } else {
            Outcome::Updated(written)
        };
        answers[index].1 = Answer::Done(outcome);
    }
    Ok(answers)
}

async fn judge(
    session: &Session,
    positions: &[usize],
    writes: &[Write],
) -> Result<Vec<(usize, Answer)>, Error> {
    let bucket: &BucketName = &writes[positions[0]].bucket;
    let columns = Columns::of(positions, writes);
    let of_each = || positions.iter().map(|&position| &writes[position]);
    let deletes: Vec<bool> = of_each()
        .map(|write| write.action == WriteAction::Delete)
        .collect();
    let if_match: Vec<Option<String>> = of_each()
        .map(|write| spell(write.conditions.if_match.as_ref()))
        .collect();
    let if_none_match: Vec<Option<String>> = of_each()
        .map(|write| spell(write.conditions.if_none_match.as_ref()))
        .collect();
    let unmodified_since: Vec<Option<SystemTime>> = of_each()
        .map(|write| write.conditions.unmodified_since.map(to_system_time))
        .collect();
    let parameters: [&(dyn ToSql + Sync); 14] = [
        &bucket.as_str(),
        &columns.heads,
        &columns.tails,
        &deletes,
        &if_match,
        &if_none_match,
        &unmodified_since,
        &columns.dated,
        &columns.ttl_seconds,
        &columns.keeps_expiry,
        &columns.last_write,
        &columns.content_types,
        &columns.content_encodings,
        &columns.data,
    ];
    let rows = session
        .client
        .query(&session.statements().judge, &parameters)
        .await?;
    let mut answers = Vec::with_capacity(rows.len());
    for row in &rows {
        let number: i64 = row.try_get("n")?;
        let index = usize::try_from(number - 1).expect("WITH ORDINALITY counts from 1");
        let outcome: &str = row.try_get("outcome")?;
        let answer = match outcome {
            "inserted" => Answer::Done(Outcome::Inserted(written(row)?)),
            "updated" => Answer::Done(Outcome::Updated(written(row)?)),
            "deleted" => Answer::Done(Outcome::Deleted),
            "missing" => Answer::Done(Outcome::Missing),
            "raced" => Answer::Raced,
            _ => Answer::Done(Outcome::Rejected(current(row)?)),
        };
        answers.push((positions[index], answer));
    }
    Ok(answers)
}

/// A list of revisions as `judge.sql` reads it: `*`, or an array's text.
fn spell(list: Option<&RevisionList>) -> Option<String> {
    Some(match list? {
        RevisionList::Any => "*".to_owned(),
        RevisionList::Of(revisions) => {
            let numbers: Vec<String> = revisions
                .iter()
                .map(|revision| revision.0.to_string())
                .collect();
            format!("{{{}}}", numbers.join(","))
        }
    })
}

fn written(row: &Row) -> Result<Written, Error> {
    Ok(Written {
        revision: Revision(row.try_get("revision")?),
        modified_at: from_system_time(row.try_get("modified_at")?),
    })
}

fn current(row: &Row) -> Result<Option<Written>, Error> {
    let revision: Option<i64> = row.try_get("revision")?;
    revision.map(|_| written(row)).transpose()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use parking_lot::Mutex;

    use super::*;
    use crate::kv::{Key, Value, WriteConditions};

    fn write(bucket: &str, key: &str, conditions: WriteConditions) -> Write {
        Write {
            bucket: BucketName::new(bucket).unwrap(),
            key: Key::new(key).unwrap(),
            action: WriteAction::Put {
                value: Value {
                    data: Bytes::new(),
                    content_type: String::new(),
                    content_encoding: None,
                },
                expiry: Expiry::Never,
                dated: None,
                timestamps: Timestamps::Client,
            },
            conditions,
        }
    }

    #[track_caller]
    fn check(keys: &[(&str, &str, bool)], expected: &[Statement]) {
        let writes: Vec<Write> = keys
            .iter()
            .map(|&(bucket, key, conditional)| {
                let if_match = conditional.then_some(RevisionList::Any);
                write(
                    bucket,
                    key,
                    WriteConditions {
                        if_match,
                        ..WriteConditions::default()
                    },
                )
            })
            .collect();
        assert_eq!(plan(&writes), expected, "{keys:?}");
    }

    /// With futures that wake while they are polled, as statements do whose answer is quick.
    #[tokio::test]
    async fn every_statement_is_sent_before_what_follows() {
        let sent = Mutex::new(Vec::new());
        let send = async |number: usize| {
            sent.lock().push(number);
            let mut is_answered = false;
            poll_fn(|context| {
                if std::mem::replace(&mut is_answered, true) {
                    return Poll::Ready(());
                }
                context.waker().wake_by_ref();
                Poll::Pending
            })
            .await;
            number
        };
        let work = all_in_order((0..100).map(send));
        let commit = send(100);
        let (answers, _) = tokio::join!(biased; work, commit);
        assert_eq!(*sent.lock(), (0..=100).collect::<Vec<_>>());
        assert_eq!(answers, (0..100).collect::<Vec<_>>());
    }

    #[test]
    fn writes_to_one_key_keep_their_order() {
        use Statement::{Judge, Put};
        check(&[], &[]);
        check(&[("b", "z", false), ("b", "a", false)], &[Put(vec![1, 0])]);
        check(
            &[("b", "a", false), ("b", "a", false), ("b", "c", false)],
            &[Put(vec![0, 2]), Put(vec![1])],
        );
        check(
            &[("b", "a", true), ("c", "a", true), ("b", "0", true)],
            &[Judge(vec![2, 0]), Judge(vec![1])],
        );
        check(
            &[
                ("b", "a", true),
                ("b", "a", false),
                ("b", "a", true),
                ("b", "d", false),
            ],
            &[Put(vec![3]), Judge(vec![0]), Put(vec![1]), Judge(vec![2])],
        );
    }
}
