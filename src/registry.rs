//! A process-wide registry of custom layers, activations or losses, which files store by name.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Deserializer, de};

use crate::error::{Error, Result};

/// The registered items of one kind.
pub(crate) struct Registry<T> {
    kind: &'static str,
    by_name: Mutex<BTreeMap<String, T>>,
    /// The items that need no registration.
    built_in: fn(&str) -> Option<T>,
}

impl<T: Clone + PartialEq> Registry<T> {
    pub const fn new(kind: &'static str, built_in: fn(&str) -> Option<T>) -> Self {
        Self { kind, by_name: Mutex::new(BTreeMap::new()), built_in }
    }

    /// Registers an item. Registering the same item again has no effect.
    pub fn register(&self, name: &str, new: T) -> Result<()> {
        let mut by_name = self.lock();
        if by_name.get(name).cloned().or_else(|| (self.built_in)(name)).is_some_and(|known| known != new) {
            let expected = format!("a name that no other {} has", self.kind);
            return Err(Error::shape(format!("registration of a custom {}", self.kind), expected, format!("{name:?}")));
        }
        by_name.entry(name.into()).or_insert(new);
        Ok(())
    }

    /// The item that is registered under a name.
    pub fn find(&self, name: &str) -> Option<T> {
        self.lock().get(name).cloned().or_else(|| (self.built_in)(name))
    }

    /// The kind and name for an error, if nothing is registered under a name.
    pub fn missing(&self, name: &str) -> Option<(&'static str, String)> {
        self.find(name).is_none().then(|| (self.kind, name.into()))
    }

    /// Reads a name from a file and finds its item.
    pub fn deserialize<'de, D: Deserializer<'de>>(&self, deserializer: D) -> Result<T, D::Error> {
        let name = String::deserialize(deserializer)?;
        self.find(&name).ok_or_else(|| de::Error::custom(self.not_found(&name)))
    }

    /// The error if nothing is registered under a name.
    pub fn not_found(&self, name: &str) -> Error {
        let what = format!("custom {}", self.kind);
        Error::shape(what, format!("a name registered with wgrad::custom::register_{}", self.kind), format!("{name:?}"))
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, T>> {
        self.by_name.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The error message for parts of a file that are not registered, by kind and name.
pub(crate) fn not_registered(missing: BTreeSet<(&'static str, String)>) -> String {
    let listed: Vec<String> = missing.iter().map(|(kind, name)| format!("the custom {kind} {name}")).collect();
    let kinds: BTreeSet<&str> = missing.iter().map(|(kind, _)| *kind).collect();
    let calls: Vec<String> = kinds.iter().map(|kind| format!("wgrad::custom::register_{kind}")).collect();
    let (listed, calls) = (listed.join(", "), calls.join(" and "));
    format!("not registered: {listed}; call {calls} before reading the file")
}

/// Serializes an item as its name, and deserializes it through the registry.
macro_rules! by_name {
    ($of:ty, $registry:expr) => {
        impl serde::Serialize for $of {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
                serializer.serialize_str(self.name())
            }
        }

        impl<'de> serde::Deserialize<'de> for &'static $of {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
                $registry.deserialize(deserializer)
            }
        }
    };
}
pub(crate) use by_name;
