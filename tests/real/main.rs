//! Tests against real PostgreSQL, PgBouncer and sshd. One file for each topic.

#[path = "../fixture/mod.rs"]
mod fixture;
mod served;

mod scene;

mod already_there;
mod blackhole;
mod both_down;
mod console_socket;
mod crash;
mod documented_conninfo;
mod fixture_itself;
mod foreign_entries;
mod login_retry;
mod proxy_jump;
mod recovery;
mod restored_file;
mod short_outage;
mod unreachable_pooler;
mod hostile_data;
mod killed_daemon;
mod operator;
mod refused_host;
mod refused_template;
mod several_processes;
mod stop_and_reload;
