//! TODO owner writes this.
