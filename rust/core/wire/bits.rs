// SPDX-License-Identifier: GPL-2.0

//! Sets of bits in a field of a message.

/// What a set of bits can do: its type has one field of the given type, and `ALL` of that, the bits that mean something.
macro_rules! bit_set {
    ($name:ident, $field:ty) => {
        impl $name {
            /// Nothing.
            pub const NONE: Self = Self(0);

            /// These bits of the field, or `None` when one of them has no meaning.
            #[inline]
            pub const fn from_bits(bits: $field) -> Option<Self> {
                if bits & !Self::ALL == 0 {
                    Some(Self(bits))
                } else {
                    None
                }
            }

            /// The bits of the field.
            #[inline]
            pub const fn bits(self) -> $field {
                self.0
            }

            /// Whether all of `other` is in here.
            #[inline]
            pub const fn contains(self, other: Self) -> bool {
                self.0 & other.0 == other.0
            }

            /// These and, when `condition` holds, `other`.
            #[inline]
            #[must_use]
            pub const fn with(self, other: Self, condition: bool) -> Self {
                if condition {
                    Self(self.0 | other.0)
                } else {
                    self
                }
            }
        }
    };
}
