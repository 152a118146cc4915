//! Tests against real PostgreSQL, PgBouncer and sshd. One file for each topic.

#[path = "../fixture/mod.rs"]
mod fixture;

// What several files share.
mod psql;
mod registered;
mod scene;
mod served;
mod standin;
mod watching;

mod adapters;
mod already_there;
mod blackhole;
mod both_down;
mod cluster_event;
mod cluster_show;
mod conninfo_parse;
mod console_socket;
mod crash;
mod cut_off;
mod documented_conninfo;
mod events;
mod fixture_itself;
mod foreign_entries;
mod hook_arguments;
mod hook_failures;
mod hostile_data;
mod killed_daemon;
mod libpq_files;
mod log_format;
mod login_retry;
mod node_check;
mod notify;
mod notify_again;
mod notify_failures;
mod notify_promotion;
mod notify_race;
mod notify_registered;
mod notify_repmgrd;
mod operator;
mod password;
mod pause;
mod peers;
mod pid_file;
mod proxy_jump;
mod reconnect;
mod recovery;
mod refused_host;
mod refused_template;
mod register;
mod render;
mod repmgr_syntax;
mod restored_file;
mod rubbish;
mod service_status;
mod several_processes;
mod short_outage;
mod stop_and_reload;
mod tables;
mod tls;
mod unreachable_pooler;
mod whole_ini;
