//! The command, from the shell to a running front door.

use std::net::TcpListener;
use std::process::Output;

use tokio::process::Command;

use crate::support::{Backend, Door, answer};
use crate::{FRESH, NEWS, door};

/// Runs `lacquer explain` away from any settings of this machine.
async fn lacquer(arguments: &[&str]) -> Output {
    let running = Command::new(env!("CARGO_BIN_EXE_lacquer"))
        .arg("explain")
        .args(arguments)
        .env_remove("LACQUER_CONFIG")
        .kill_on_drop(true)
        .output();
    tokio::time::timeout(crate::support::PATIENCE, running)
        .await
        .expect("an end in time")
        .expect("the program starts")
}

/// What the command prints about a request to this front door.
pub(crate) async fn explain(door: &Door, arguments: &[&str]) -> String {
    let ops = door.ops.expect("the operator's port").to_string();
    let (code, out, err) = read(&lacquer(&[&["--to", &*ops], arguments].concat()).await);
    assert_eq!((code, err.as_str()), (0, ""), "{out}");
    out
}

/// Exit status, standard output and standard error.
fn read(output: &Output) -> (i32, String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("text");
    let code = output.status.code().expect("no signal");
    (code, text(&output.stdout), text(&output.stderr))
}

#[tokio::test]
async fn command_explains_and_ends_with_0() {
    let lines = [FRESH, ("Vary", "Accept-Language")];
    let backend = Backend::always(answer(200, &lines, "body")).await;
    let door = door(&backend).await;
    let ops = door.ops.expect("the operator's port").to_string();
    door.request("GET", "/news", &[("Accept-Language", "de")])
        .await;
    let (code, out, err) = read(&lacquer(&["--to", &ops, "-H", "Accept-Language: de", NEWS]).await);
    assert_eq!((code, err.as_str()), (0, ""), "{out}");
    assert!(
        out.starts_with("GET http://example.org/news\nwould be answered from the cache"),
        "{out}"
    );
    assert!(
        out.contains("\nvaries on      accept-language: de\n"),
        "{out}"
    );

    let (code, out, _) = read(&lacquer(&["--to", &ops, "-X", "POST", NEWS]).await);
    assert_eq!(code, 0, "what is no hit is explained as well");
    assert!(out.contains("\nwould be passed to the backend"), "{out}");

    let (code, out, _) = read(&lacquer(&["--to", &ops, "--json", NEWS]).await);
    let json: serde_json::Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!((code, &json["verdict"]["outcome"]), (0, &"fetch".into()));
    assert_eq!(backend.count(), 1);
}

/// As `purge` finds the listener, from the settings.
#[tokio::test]
async fn settings_say_where_the_front_door_is() {
    let backend = Backend::always(answer(200, &[FRESH], "body")).await;
    let door = door(&backend).await;
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("lacquer.toml");
    let ops = door.ops.expect("the operator's port");
    let settings = format!(
        "[[listen]]\naddress = \"{}\"\n[metrics]\naddress = \"{ops}\"\n",
        door.address
    );
    std::fs::write(&path, settings).expect("a writable folder");
    let path = path.to_str().expect("text");
    let (code, out, err) = read(&lacquer(&["--config", path, "/news"]).await);
    assert_eq!((code, err.as_str()), (0, ""));
    let own = format!("GET http://{}/news\n", door.address);
    assert!(out.starts_with(&own), "{out}");

    std::fs::write(path, "[metrics]\nenabled = false\n").expect("a writable folder");
    let (code, _, err) = read(&lacquer(&["--config", path, "/news"]).await);
    assert_eq!(code, 2, "{err}");
    assert!(
        err.contains("metrics.enabled is false") && err.contains("--to ADDR"),
        "{err}"
    );
}

#[tokio::test]
async fn nobody_there_ends_with_1_and_the_address_tried() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("bound").to_string();
    drop(listener);
    let (code, out, err) = read(&lacquer(&["--to", &address, NEWS]).await);
    assert_eq!((code, out.as_str()), (1, ""), "{err}");
    let tried =
        format!("no front door answers at {address}, the operator's port (metrics.address)");
    assert!(err.contains(&tried), "{err}");
}

/// A listener for clients instead of the operator's port: the backend behind it answers.
#[tokio::test]
async fn wrong_port_ends_with_1_and_a_hint() {
    let backend = Backend::always(answer(404, &[], "no such page")).await;
    let door = door(&backend).await;
    let address = door.address.to_string();
    let (code, out, err) = read(&lacquer(&["--to", &address, NEWS]).await);
    assert_eq!((code, out.as_str()), (1, ""), "{err}");
    assert!(
        err.contains("404") && err.contains("metrics.address"),
        "{err}"
    );
}

#[tokio::test]
async fn questions_that_make_no_sense_end_with_2() {
    for arguments in [
        &[][..],
        &["example.org/news"],
        &["/news#x"],
        &["-H", "no colon", NEWS],
        &["-H", "a b: c", NEWS],
        &["-X", "GE T", NEWS],
        &["--to", "nowhere:x", NEWS],
        &["--config", "/nonexistent/lacquer.toml", NEWS],
    ] {
        let (code, out, err) = read(&lacquer(arguments).await);
        assert_eq!((code, out.as_str()), (2, ""), "{arguments:?}: {err}");
        assert!(!err.is_empty());
    }
}
