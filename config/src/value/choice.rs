//! Settings that choose from a list of names.

/// Defines an enum whose variants have names in the file, and reads it from text.
///
/// A name that is not in the list is refused with the list and the nearest one.
macro_rules! choice {
    (
        $(#[doc = $about:literal])*
        pub enum $name:ident {
            $( $(#[doc = $doc:literal])* $variant:ident = $text:literal, )*
        }
    ) => {
        $(#[doc = $about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name {
            $( $(#[doc = $doc])* $variant, )*
        }

        impl $name {
            /// All names, in the order of the definition.
            pub const NAMES: &'static [&'static str] = &[$($text),*];

            /// The name in the file.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $( $name::$variant => $text, )*
                }
            }
        }

        impl std::str::FromStr for $name {
            type Err = $crate::ValueError;

            fn from_str(text: &str) -> Result<$name, $crate::ValueError> {
                match text {
                    $( $text => Ok($name::$variant), )*
                    _ => {
                        let mut error =
                            $crate::ValueError::new(text, $crate::value::one_of($name::NAMES));
                        error.suggestion =
                            $crate::reader::nearest(text, $name::NAMES.iter().copied());
                        Err(error)
                    }
                }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }

        $crate::value::string_leaf!($name, $crate::value::one_of($name::NAMES));
    };
}
pub(crate) use choice;

/// The names, as they end the sentence "must be …".
pub(crate) fn one_of(names: &[&str]) -> String {
    let quoted: Vec<String> = names.iter().map(|name| format!("\"{name}\"")).collect();
    match quoted.as_slice() {
        [one] => one.clone(),
        [head @ .., last] => format!("{} or {last}", head.join(", ")),
        [] => String::new(),
    }
}
