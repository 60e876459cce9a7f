//! L1, bytes and durability.
/// placeholder
pub struct Durable<T>(T);
