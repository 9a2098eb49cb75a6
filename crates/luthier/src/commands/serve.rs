//! x
use crate::cli::{Format, ServeArgs};
use crate::failure::Failure;
pub(crate) fn serve(_args: &ServeArgs, _format: Format) -> Result<(), Failure> { Err(Failure::fault("x")) }
