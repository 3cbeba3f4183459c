//! References by table and by property.

use super::*;
use crate::image_name::ImageName;
