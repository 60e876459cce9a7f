//! What may have been meant by a name that nothing has.

/// The one of `known` that is most like `name`, unless it is not much like it.
pub fn most_like<T: AsRef<str> + Ord>(name: &str, known: impl IntoIterator<Item = T>) -> Option<T> {
    let ranked = known.into_iter().map(|known| (strsim::osa_distance(known.as_ref(), name), known));
    // More than a third of it wrong is not a slip of the finger.
    ranked.min().filter(|(distance, _)| distance * 3 <= name.len()).map(|(_, known)| known)
}
