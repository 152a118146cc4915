//! `service status`: which daemons run, and what is paused.

use std::time::Duration;

use crate::fixture::{Cluster, Daemon, Settings, wait_until};
use crate::registered::run;
use crate::scene::start_daemon;

const DEADLINE: Duration = Duration::from_secs(40);

/// Standard output, standard error and exit status of `repoint service status`, as the text of a
/// terminal.
fn status(cluster: &Cluster, words: &[&str]) -> (String, String, i32) {
    let to = cluster.node1().connection_options();
    let to = to.each_ref().map(String::as_str);
    let ran = run(cluster, &[words, &to].concat());
    (ran.stdout, ran.stderr, ran.code)
}

fn csv(cluster: &Cluster) -> String {
    let (out, err, code) = status(cluster, &["service", "status", "--csv"]);
    assert_eq!((err.as_str(), code), ("", 0));
    out
}

/// Both daemons have told both nodes of themselves.
fn wait_for_signs(cluster: &Cluster, daemons: &[Daemon; 2]) {
    for node in cluster.nodes() {
        wait_until(DEADLINE, "signs of life", || {
            let rows = node.try_rows("select pid from repoint.agents order by node_id");
            rows.is_ok_and(|rows| {
                let pids: Vec<&String> = rows.iter().map(|row| &row["pid"]).collect();
                pids == [&daemons[0].pid().to_string(), &daemons[1].pid().to_string()]
            })
        });
    }
}

fn ruled(headings: &str, rows: &[String]) -> String {
    let rule: String = headings
        .chars()
        .map(|c| if c == '|' { '+' } else { '-' })
        .collect();
    // The last cell is padded, the rule is not longer than the row.
    format!("{headings}\n{rule}-\n{}", rows.concat())
}

#[test]
fn the_table_shows_daemons_and_pauses_as_repmgrs_does() {
    let cluster = Cluster::builder().poolers(0).start();
    let daemons = [1, 2].map(|id| start_daemon(&cluster, id, &Settings::default()));
    wait_for_signs(&cluster, &daemons);
    let width = daemons
        .iter()
        .map(|daemon| daemon.pid().to_string().len())
        .max()
        .expect("two");
    let width = width.max(3);
    let headings = format!(
        " ID | Name  | Role | Status    | Upstream | repmgrd | {:width$} | Paused? | \
         Upstream last seen",
        "PID"
    );
    let row = |id: usize, paused: &str| {
        let pid = daemons[id - 1].pid();
        format!(
            " {id}  | node{id} | bdr  | * running |          | running | {pid:<width$} | \
             {paused:<7} | n/a               \n"
        )
    };
    let expected = ruled(&headings, &[row(1, "no"), row(2, "no")]);
    let shown = status(&cluster, &["service", "status"]);
    assert_eq!(shown, (expected.clone(), String::new(), 0));
    // The older name of the command.
    let shown = status(&cluster, &["daemon", "status"]);
    assert_eq!(shown, (expected, String::new(), 0));

    let (_, _, code) = status(&cluster, &["service", "pause", "--node-id", "2"]);
    assert_eq!(code, 0);
    let (out, err, code) = status(&cluster, &["service", "status"]);
    assert_eq!(out, ruled(&headings, &[row(1, "no"), row(2, "yes")]));
    let sentence = "WARNING: failover of node 2 is paused since ";
    assert!(err.starts_with(sentence), "{err}");
    assert_eq!(code, 0);
    let pids = daemons.each_ref().map(Daemon::pid);
    let expected = format!(
        "1,node1,bdr,1,1,{},0,100,-1,default\n2,node2,bdr,1,1,{},1,100,-1,default\n",
        pids[0], pids[1]
    );
    assert_eq!(csv(&cluster), expected);
    let (out, _, _) = status(&cluster, &["service", "status", "--detail"]);
    let detail = " ID | Name  | Role | Status    | Upstream | Location | Priority | repmgrd |";
    assert!(out.starts_with(detail), "{out}");
    let (out, err, _) = status(&cluster, &["service", "status", "--json"]);
    assert_eq!(err, "");
    let json: serde_json::Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!(json["nodes"][0]["daemon_running"], true);
    assert_eq!(json["nodes"][1]["paused"], true);
    assert_eq!(json["nodes"][1]["pid"], pids[1]);
    assert_eq!(json["pauses"][0]["node_id"], 2);
}

#[test]
fn a_daemon_that_ended_does_not_run_nor_does_one_that_is_silent() {
    let cluster = Cluster::builder().poolers(0).start();
    let daemons = [1, 2].map(|id| start_daemon(&cluster, id, &Settings::default()));
    wait_for_signs(&cluster, &daemons);
    let pid1 = daemons[0].pid();
    // It says so itself,
    assert!(daemons[1].terminate().success());
    let ended = "2,node2,bdr,1,0,-1,0,100,-1,default\n";
    assert_eq!(
        csv(&cluster),
        format!("1,node1,bdr,1,1,{pid1},0,100,-1,default\n{ended}")
    );
    // or is missed after a while.
    daemons[0].kill9();
    let silent = format!("1,node1,bdr,1,0,-1,0,100,-1,default\n{ended}");
    wait_until(DEADLINE, "the silence to be noticed", || {
        csv(&cluster) == silent
    });
}

#[test]
fn a_daemon_whose_node_is_down_is_seen_through_the_other_node() {
    let cluster = Cluster::builder().poolers(0).start();
    let daemons = [1, 2].map(|id| start_daemon(&cluster, id, &Settings::default()));
    wait_for_signs(&cluster, &daemons);
    cluster.node2().kill9();
    wait_until(DEADLINE, "the failover", || {
        let rows = cluster
            .node1()
            .rows("select active from repmgr.nodes where node_id = 2");
        rows[0]["active"] == "f"
    });
    let (out, err, code) = status(&cluster, &["service", "status"]);
    let line = format!(
        " 2  | node2 | bdr  | - failed  |          | running | {} ",
        daemons[1].pid()
    );
    assert!(
        out.lines().nth(3).is_some_and(|l| l.starts_with(&line)),
        "{out}"
    );
    let expected = "WARNING: unable to connect to node \"node2\" (ID: 2)\nDETAIL: refused: ";
    assert!(err.starts_with(expected), "{err}");
    assert_eq!(code, 0);
}

#[test]
fn where_no_daemon_ever_ran_nothing_is_claimed() {
    let cluster = Cluster::builder().poolers(0).start();
    let file = cluster.write_config(1, &Settings::default(), |_| ());
    let file = file.display().to_string();
    let output = cluster.repoint(&["-f", &file, "service", "status", "--csv"]);
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "1,node1,bdr,1,-1,-1,-1,100,-1,default\n2,node2,bdr,1,-1,-1,-1,100,-1,default\n"
    );
    let output = cluster.repoint(&["-f", &file, "service", "status"]);
    assert_eq!(
        String::from_utf8_lossy(&output.stderr),
        "WARNING: node \"node1\" (ID: 1) has no schema repoint\n\
         DETAIL: a daemon makes it, if its user may\n\
         WARNING: node \"node2\" (ID: 2) has no schema repoint\n\
         DETAIL: a daemon makes it, if its user may\n"
    );
}
