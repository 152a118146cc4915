//! What PgBouncer reads: templates, the header of a managed file, and its ini grammar.
//!
//! Text in, text out: nothing here reads or writes a file, asks a PgBouncer or knows the time. The
//! edge puts the bytes where they belong, and reads back from the console what they did.

pub mod difference;
pub mod header;
pub mod ini;
pub mod template;
