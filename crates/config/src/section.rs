//! One table of the file, declared once: the struct that the program reads, the struct that a file
//! may hold (every key optional, unknown ones refused), defaults, checks and the comments that
//! `pinpod config --default` prints all come from one declaration, so that they cannot disagree.

macro_rules! section {
    (
        $(#[doc = $about:literal])+
        pub struct $name:ident, file $file:ident;
        $(
            $(#[doc = $doc:literal])+
            $key:ident: $type:ty = $default:expr, $check:path;
        )*
        $(tables {
            $(
                $(#[doc = $table_doc:literal])+
                $table:ident: $table_type:ty, file $table_file:ty;
            )+
        })?
    ) => {
        $(#[doc = $about])+
        #[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
        pub struct $name {
            $(
                $(#[doc = $doc])+
                pub $key: $type,
            )*
            $($(
                $(#[doc = $table_doc])+
                pub $table: $table_type,
            )+)?
        }

        impl Default for $name {
            fn default() -> Self {
                Self {
                    $($key: $default,)*
                    $($($table: <$table_type>::default(),)+)?
                }
            }
        }

        #[derive(Debug, Default, serde::Deserialize)]
        #[serde(default, deny_unknown_fields)]
        pub(crate) struct $file {
            $($key: Option<toml::Spanned<$type>>,)*
            $($($table: $table_file,)+)?
        }

        impl $file {
            /// Puts what the file says over `into`, key by key.
            pub(crate) fn apply(
                self,
                into: &mut $name,
                table: &str,
                source: &mut $crate::load::Source<'_>,
            ) -> Result<(), $crate::ConfigError> {
                $(
                    if let Some(given) = self.$key {
                        let span = given.span();
                        let value = given.into_inner();
                        let key = format!("{table}.{}", stringify!($key));
                        if let Err(reason) = $check(&value) {
                            return Err(source.invalid(key, span, reason));
                        }
                        source.note(key, span);
                        into.$key = value;
                    }
                )*
                $($(
                    let inner = format!("{table}.{}", stringify!($table));
                    self.$table.apply(&mut into.$table, &inner, source)?;
                )+)?
                Ok(())
            }
        }

        impl $name {
            /// Appends the table with its comments.
            pub(crate) fn write_commented(
                &self,
                table: &str,
                out: &mut String,
            ) -> Result<(), toml::ser::Error> {
                out.push_str(&format!("[{table}]\n"));
                $(
                    out.push('\n');
                    $(
                        out.push_str(concat!("#", $doc).trim_end());
                        out.push('\n');
                    )+
                    let value = toml::Value::try_from(&self.$key)?;
                    out.push_str(&format!("{} = {value}\n", stringify!($key)));
                )*
                $($(
                    out.push('\n');
                    let inner = format!("{table}.{}", stringify!($table));
                    self.$table.write_commented(&inner, out)?;
                )+)?
                Ok(())
            }

            /// Appends the full name of each key.
            #[cfg(test)]
            pub(crate) fn keys(table: &str, out: &mut Vec<String>) {
                $(out.push(format!("{table}.{}", stringify!($key)));)*
                $($(
                    <$table_type>::keys(&format!("{table}.{}", stringify!($table)), out);
                )+)?
            }
        }
    };
}

pub(crate) use section;
