//! Names: of orgs, envs, runtimes, flows, queues and the like. They are in every index, so they are shared and soon compared.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::Deref;
use std::sync::Arc;

/// The first eight bytes as a number: of two texts the lesser has no greater one.
pub(crate) fn head(bytes: &[u8]) -> u64 {
    let head = bytes.first_chunk().copied().unwrap_or_else(|| {
        // What is not there is least, as in the order of bytes.
        let mut head = [0; 8];
        head.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
        head
    });
    u64::from_be_bytes(head)
}

/// A text that many hold and nobody changes, in the order of its bytes. Their beginning stands beside them as a number, which
/// tells most names apart.
#[derive(Clone, Default)]
pub struct Name {
    head: u64,
    text: Arc<str>,
}

impl From<Arc<str>> for Name {
    fn from(text: Arc<str>) -> Name {
        Name { head: head(text.as_bytes()), text }
    }
}

impl From<&str> for Name {
    fn from(text: &str) -> Name {
        Name::from(Arc::<str>::from(text))
    }
}

impl From<String> for Name {
    fn from(text: String) -> Name {
        Name::from(Arc::<str>::from(text))
    }
}

impl Deref for Name {
    type Target = str;

    fn deref(&self) -> &str {
        &self.text
    }
}

impl Borrow<str> for Name {
    fn borrow(&self) -> &str {
        &self.text
    }
}

impl AsRef<str> for Name {
    fn as_ref(&self) -> &str {
        &self.text
    }
}

impl PartialEq for Name {
    fn eq(&self, other: &Name) -> bool {
        self.head == other.head && self.text == other.text
    }
}

impl Eq for Name {}

impl PartialOrd for Name {
    fn partial_cmp(&self, other: &Name) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Name {
    fn cmp(&self, other: &Name) -> Ordering {
        self.head.cmp(&other.head).then_with(|| self.text.cmp(&other.text))
    }
}

impl Hash for Name {
    fn hash<H: Hasher>(&self, state: &mut H) {
        // As the text's, which it is looked for by.
        self.text.hash(state);
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.text)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.text, f)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn names_are_in_the_order_of_their_texts(one in "[\0-b]{0,10}", other in "[\0-b]{0,10}", same in "[ab]{0,9}") {
            for (one, other) in [(one.clone(), other.clone()), (same.clone() + &one, same + &other)] {
                let names = [Name::from(one.as_str()), Name::from(other.as_str())];
                prop_assert_eq!(names[0].cmp(&names[1]), one.cmp(&other));
                prop_assert_eq!(names[0] == names[1], one == other);
            }
        }
    }
}
