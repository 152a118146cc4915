//! A PgBouncer whose whole `pgbouncer.ini` is the managed file, from the built-in template.

use crate::fixture::{Cluster, Settings, wait_until};
use crate::notify::told;
use crate::watching::{DEADLINE, serves};

#[test]
fn a_pgbouncer_that_runs_on_the_template_pgbouncer_ini_is_redirected() {
    let lines = "server_login_retry = 1";
    let cluster = Cluster::builder().poolers(1).pooler_lines(lines).start();
    let pooler = cluster.pooler(1);
    let own = pooler.socket_dir();
    let settings = Settings {
        pgbouncer_lines: format!(
            "template = \"pgbouncer.ini\"
[pgbouncer.settings]
listen_addr = \"127.0.0.1\"
listen_port = {port}
unix_socket_dir = \"{own}\"
auth_type = \"trust\"
auth_file = \"{own}/userlist.txt\"
admin_users = \"admin\"
pool_mode = \"transaction\"
logfile = \"{own}/pgbouncer.log\"
pidfile = \"{own}/pgbouncer.pid\"
server_login_retry = 1
so_reuseport = true
",
            port = pooler.port(),
            own = own.display(),
        ),
        ..Settings::default()
    };
    let file = cluster.write_config(1, &settings, |toml| {
        *toml = toml.replace("/conf/databases.ini", "/pgbouncer.ini");
    });
    let file = file.display().to_string();
    let full = ["-f", &file, "render", "--full", "--node", "node2"];
    let (code, ini, stderr) = told(&cluster.repoint(&full));
    assert_eq!((code, stderr.as_str()), (0, ""));
    let again = told(&cluster.repoint(&full)).1;
    assert_eq!(ini, again, "the same input gives the same bytes");

    pooler.stop();
    cluster.home().write(&own.join("pgbouncer.ini"), &ini);
    pooler.start();
    assert!(serves(&cluster, 1, 2));
    assert_eq!(pooler.config("so_reuseport"), "1");

    cluster.node2().kill9();
    let notify = ["-f", &file, "notify", "2", "bdr_failover", "1"];
    let (code, stdout, stderr) = told(&cluster.repoint(&notify));
    assert_eq!(code, 0, "{stdout}{stderr}");
    assert!(stdout.starts_with("pgb1: redirected `app` ("), "{stdout}");
    assert!(serves(&cluster, 1, 1));
    // By the process that `notify` has left behind for that.
    wait_until(DEADLINE, "server_login_retry as it was", || {
        pooler.config("server_login_retry") == "1"
    });
    // It starts on the file that it was given, too.
    pooler.stop();
    pooler.start();
    assert!(serves(&cluster, 1, 1));
}
