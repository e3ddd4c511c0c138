//! Device: where the network runs: an NVIDIA GPU where there is one and the binary was built for it, else the CPU.

use burn::prelude::*;
#[cfg(feature = "cuda")]
use burn::tensor::TensorData;

use super::network::Network;
#[cfg(feature = "cuda")]
use super::network::WIDTH;
#[cfg(feature = "cuda")]
use crate::record::features::NUMERIC;

/// Rows that a batch is padded to on the CPU. One shape means one order of every sum, wherever a row lies; and at this size a
/// batch stays in the cache and below the size from which flex asks rayon for threads.
const CPU_ROWS: usize = 32;
/// Rows that a batch is padded to on a GPU, which compiles its kernels for each shape: what the service gathers. (At the
/// size of this network a GPU gains on the CPU only beyond thousands of rows a batch.)
#[cfg(feature = "cuda")]
const GPU_ROWS: usize = super::service::BATCH;

/// A network where it will run.
pub struct Placed {
    /// The network, on `device`.
    pub network: Network,
    /// Where.
    pub device: Device,
    /// Every batch is padded to so many rows.
    pub rows: usize,
    /// Where and why, in a sentence.
    pub note: String,
}

/// `network`, which is on the CPU, on the best device there is.
#[must_use]
pub fn place(network: Network) -> Placed {
    #[cfg(feature = "cuda")]
    let note = match cuda(&network) {
        Ok(placed) => return placed,
        Err(reason) => format!("ranks on the CPU: {reason}"),
    };
    #[cfg(not(feature = "cuda"))]
    let note = "ranks on the CPU: built without the feature `cuda`".to_owned();
    Placed { network, device: Device::flex(), rows: CPU_ROWS, note }
}

/// The network on the first CUDA device, if a batch there says what it says on the CPU. A driver that is missing or broken
/// panics within the runtime: that is a reason like any other.
#[cfg(feature = "cuda")]
fn cuda(network: &Network) -> Result<Placed, String> {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    // Numbers and names alike: a quarter in each column, bucket 1 in each token.
    let value = |at: usize| if at % WIDTH < NUMERIC.len() { 0.25 } else { 1.0 };
    let rows: Vec<f32> = (0..GPU_ROWS * WIDTH).map(value).collect();
    let forward = |network: &Network, device: &Device| {
        let rows = Tensor::from_data(TensorData::new(rows.clone(), [GPU_ROWS, WIDTH]), device);
        let playbooks = network.playbooks(&[super::PlaybookTraits::of(&[], &[], &[], 0)], device);
        network.judge(&rows, &playbooks).into_data().try_to_vec::<f32>().map_err(|error| error.to_string())
    };
    let expected = forward(network, &Device::flex())?;
    catch_unwind(AssertUnwindSafe(|| {
        if burn::tensor::Device::enumerate(burn::tensor::DeviceType::Cuda).into_vec().is_empty() {
            return Err("no CUDA device is there".to_owned());
        }
        let device = Device::cuda(0);
        let placed = network.clone().to_device(&device);
        let said = forward(&placed, &device)?;
        // Each difference, not the greatest: a maximum swallows what is no number.
        if !said.iter().zip(&expected).all(|(said, expected)| (said - expected).abs() <= 1e-2) {
            return Err("the CUDA device says other than the CPU".to_owned());
        }
        Ok(Placed { network: placed, device, rows: GPU_ROWS, note: "ranks on CUDA device 0".to_owned() })
    }))
    .unwrap_or_else(|_| Err("the CUDA runtime panicked".to_owned()))
}
