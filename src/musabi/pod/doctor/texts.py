"""Every finding that is not simply right, as a table: what it says, what it comes from, what mends it.

In one sentence, consequence first: "{consequence}: {what}." Then the mend. docs/doctor.md is made from it.
"""

from dataclasses import dataclass
from typing import Literal

State = Literal["ok", "note", "blocks", "unknown"]


@dataclass(frozen=True)
class Text:
    """A row. `state` is what it means where nothing is said: it blocks, is worth knowing, or can't be known."""

    state: State
    consequence: str
    what: str
    mend: str


# How the trainer's environment is made anew, by engine.
RENEW = {
    "musubi": "Delete {venv} and run musabi bootstrap",
    "diffusers": "Delete .venv in musabi's checkout and run scripts/setup.sh diffusers there",
}

GPU: dict[str, Text] = {
    "gpu.none": Text(
        "blocks",
        "musubi-tuner can't train here",
        "this container has no GPU and no NVIDIA driver",
        "Deploy a pod with a GPU, or rehearse on the CPU with ENGINE=diffusers.",
    ),
    "gpu.hidden": Text(
        "blocks",
        "No program sees a GPU",
        "CUDA_VISIBLE_DEVICES hides every one",
        "Unset CUDA_VISIBLE_DEVICES.",
    ),
    "gpu.no_library": Text(
        "blocks",
        "torch can't use the GPU",
        "nvidia-smi sees {name}, but the driver's library libcuda.so.1 is not in this container",
        "Start the container with NVIDIA_DRIVER_CAPABILITIES=compute,utility.",
    ),
    "gpu.no_answer": Text(
        "blocks",
        "The GPU is not usable",
        "its driver did not answer within {seconds} s",
        "Delete this pod and deploy another: its host is broken.",
    ),
    "gpu.no_device": Text(
        "blocks",
        "musubi-tuner can't train here",
        "the NVIDIA driver is in this container, but it has no GPU to offer",
        "Deploy a pod with a GPU; a pod that was stopped may come back without one.",
    ),
    "gpu.stub_library": Text(
        "blocks",
        "torch can't use the GPU",
        "a stub of the driver's library is loaded in place of the real one",
        "Take CUDA's stubs folder out of LD_LIBRARY_PATH.",
    ),
    "gpu.not_ready": Text(
        "blocks",
        "The GPU is not usable",
        "the host's fabric manager has not finished, or does not run (CUDA error 802)",
        "Wait a minute and look again; if it stays, deploy another pod.",
    ),
    "gpu.mismatch": Text(
        "blocks",
        "torch can't use the GPU",
        "the driver's library in this container does not belong to the host's driver (CUDA error {code})",
        "Take cuda-compat out of LD_LIBRARY_PATH, or deploy a pod on another host.",
    ),
    "gpu.driver_fails": Text(
        "blocks",
        "The GPU is not usable",
        "the driver refuses to start with CUDA error {code}",
        "Delete this pod and deploy another: its host is most likely broken.",
    ),
    "gpu.cuda_too_old": Text(
        "blocks",
        "torch can't use the GPU",
        "the driver offers CUDA {had}, and torch was built for CUDA {wanted}",
        "Deploy a pod with the CUDA filter at {wanted} or higher.",
    ),
    "gpu.cuda_older": Text(
        "note",
        "Single kernels may fail",
        "the driver offers CUDA {had}, and torch was built for CUDA {wanted}",
        "Trust it only where the kernels below work, or deploy a pod with the CUDA filter at {wanted}.",
    ),
    "gpu.cuda_unknown": Text(
        "unknown",
        "Whether the driver is new enough is not known",
        "driver {driver} does not say which CUDA it offers",
        "Look at the result of the kernels below.",
    ),
    "gpu.small": Text(
        "note",
        "Training may run out of memory",
        "{name} has {total}, and musubi-tuner asks for 12 GB or more",
        "Set BLOCKS_TO_SWAP=16, or take a larger GPU.",
    ),
    "gpu.busy": Text(
        "note",
        "Training may run out of memory",
        "only {free} of {name}'s {total} are free, and no run of this workspace is at work",
        "End the program that uses the GPU; nvidia-smi shows it.",
    ),
    "gpu.free_unknown": Text(
        "unknown",
        "Whether the GPU is free is not known",
        "the driver does not say how much memory of {name} is free",
        "Look at nvidia-smi.",
    ),
    "gpu.no_bf16": Text(
        "note",
        "Training is very slow",
        "{name} has no arithmetic for bfloat16 (compute capability {capability}, 8.0 is needed)",
        "Take an RTX 30 series GPU, an A-series GPU or a newer one.",
    ),
}

KERNELS: dict[str, Text] = {
    "kernels.no_environment": Text(
        "blocks",
        "musubi-tuner can't start",
        "its Python environment is not there or not whole",
        "Run musabi bootstrap to make it.",
    ),
    "kernels.no_torch": Text(
        "blocks",
        "Nothing can train",
        "torch is not in {place}",
        "Run scripts/setup.sh diffusers in musabi's checkout.",
    ),
    "kernels.not_on_gpu": Text(
        "unknown",
        "Whether GPU kernels work is not known",
        "there is no GPU, so matmul and SDPA ran on the CPU and flash-attn did not run",
        "Look again on a machine with a GPU.",
    ),
    "kernels.another_torch": Text(
        "unknown",
        "Whether the trainer's own torch works is not known",
        "its environment is not there, so the kernels ran with torch {torch} of {place}",
        "Run musabi bootstrap, then look again.",
    ),
    "kernels.training": Text(
        "unknown",
        "Whether the kernels work is not known",
        "a training is using the GPU, so they did not run beside it",
        "Look again when the run has ended.",
    ),
    "kernels.late": Text(
        "unknown",
        "Whether the kernels work is not known",
        "{step} did not end within {seconds} s",
        "Look again when nothing else runs; if it stays, deploy another pod.",
    ),
    "kernels.died": Text(
        "blocks",
        "Training can't start",
        "{step} ended the whole process ({code})",
        "{renew}; if it stays, deploy another pod.",
    ),
    "kernels.torch_broken": Text(
        "blocks",
        "Training can't start",
        "torch does not import ({error})",
        "{renew}.",
    ),
    "kernels.torchvision_broken": Text(
        "blocks",
        "Training can't start",
        "torchvision does not import ({error})",
        "Set MUSUBI_TORCHVISION_VERSION to the one that belongs to torch, then run musabi bootstrap.",
    ),
    "kernels.cpu_torch": Text(
        "blocks",
        "The GPU stays unused",
        "torch {torch} was built for the CPU",
        "Set MUSUBI_CUDA_EXTRA=cu128 and run musabi bootstrap.",
    ),
    "kernels.no_cuda": Text(
        "blocks",
        "Training can't use the GPU",
        "torch does not see it ({error})",
        "Look at the findings on the driver above; if there are none, deploy another pod.",
    ),
    "kernels.arch": Text(
        "blocks",
        "Training can't use {name}",
        "torch {torch} has no code for its compute capability {capability} (it has {arches})",
        "Set MUSUBI_CUDA_EXTRA=cu128 or newer and run musabi bootstrap, or take another GPU.",
    ),
    "kernels.no_image": Text(
        "blocks",
        "Training can't use this GPU",
        "{step} has no code for it (no kernel image is available)",
        "Set MUSUBI_CUDA_EXTRA=cu128 or newer and run musabi bootstrap, or take another GPU.",
    ),
    "kernels.driver_old": Text(
        "blocks",
        "Training can't use this GPU",
        "{step} needs a newer driver than this host has",
        "Deploy a pod with a higher CUDA filter.",
    ),
    "kernels.cublas": Text(
        "blocks",
        "Training fails at its first step",
        "{step} failed in cuBLAS ({error}), which comes from a second CUDA library or a driver that is too old",
        "Unset LD_LIBRARY_PATH and look again, or deploy a pod with a higher CUDA filter.",
    ),
    "kernels.cudnn": Text(
        "blocks",
        "Training or caching fails",
        "{step} failed in cuDNN ({error}), which comes from a second CUDA library",
        "Unset LD_LIBRARY_PATH and look again, and keep DISABLE_CUDNN_BACKEND=1.",
    ),
    "kernels.memory": Text(
        "note",
        "The kernels could not be tried",
        "{step} found no free memory on the GPU",
        "Look again when the run or the other program on the GPU has ended.",
    ),
    "kernels.hardware": Text(
        "blocks",
        "The GPU is broken or in a broken state",
        "{step} failed with {error}",
        "Delete this pod and deploy another.",
    ),
    "kernels.wrong": Text(
        "blocks",
        "Training would learn from wrong numbers",
        "{step} returned numbers that are off by {off}",
        "Delete this pod and deploy another.",
    ),
    "kernels.failed": Text(
        "blocks",
        "Training would fail",
        "{step} failed ({error})",
        "Run musabi bootstrap, then look again; if it stays, deploy another pod.",
    ),
    "kernels.flash": Text(
        "note",
        "Training uses SDPA",
        "flash-attn {flash} does not work here ({error})",
        "Nothing has to be done: SDPA is about as fast.",
    ),
    "kernels.flash_used": Text(
        "blocks",
        "Training fails at its first step",
        "it would use flash-attn {flash}, which does not work here ({error})",
        "Run musabi bootstrap, which tries it anew, or pass -- --sdpa to the training.",
    ),
    "kernels.torch_pin": Text(
        "note",
        "Training uses an unproven torch",
        "the environment has {package} {had}, and {wanted} was asked for",
        "{renew}.",
    ),
    "kernels.flash_pin": Text(
        "note",
        "Training may use an unproven flash-attn",
        "the environment has flash-attn {had}, and {wanted} belongs to this torch",
        "{renew}.",
    ),
}

CORES: dict[str, Text] = {
    "cores.few_threads": Text(
        "note",
        'Programs may die with "can\'t start new thread"',
        "this container may have {pids} threads, and its programs would start some for each of the host's "
        "{host} cores",
        "Export {caps}, or restart the pod, whose boot does so.",
    ),
    "cores.quota": Text(
        "note",
        "Programs get in their own way",
        "this container may use {cores} of the host's {host} cores, and its programs would start a thread "
        "for each of the host's",
        "Export {caps}, or restart the pod, whose boot does so.",
    ),
    "memory.small": Text(
        "note",
        "Loading the model may be ended by the system",
        "there are {memory} of main memory, and musubi-tuner asks for 32 GB or more",
        "Take a machine with more memory.",
    ),
    "memory.unknown": Text(
        "unknown",
        "Whether main memory is enough is not known",
        "neither the cgroup nor /proc/meminfo says how much there is",
        "Look at the machine's data sheet: musubi-tuner asks for 32 GB or more.",
    ),
}

DISK: dict[str, Text] = {
    "disk.no_workspace": Text(
        "note",
        "Nothing is set up yet",
        "the workspace {workspace} is not there",
        "Run musabi bootstrap, or set WORKSPACE to where it is.",
    ),
    "disk.read_only": Text(
        "blocks",
        "Nothing can be saved",
        "{workspace} can't be written to ({error})",
        "Mount the volume with write access, or set WORKSPACE to another folder.",
    ),
    "disk.not_a_mount": Text(
        "note",
        "Everything under {workspace} is lost when the pod stops",
        "it lies on the container's own disk",
        "Attach a volume at {workspace}, or copy the results away before the pod stops.",
    ),
    "disk.in_memory": Text(
        "note",
        "Everything under {workspace} is lost when the pod stops",
        "it lies in main memory ({filesystem})",
        "Attach a volume at {workspace}.",
    ),
    "disk.quota_unknown": Text(
        "unknown",
        "Whether the disk is big enough is not known",
        "{workspace} is a network volume, whose free space of {free} is the whole cluster's and not yours",
        "Compare the {needed} still to be written with the volume's size in Runpod's console.",
    ),
    "disk.too_small": Text(
        "blocks",
        "The disk runs full before a training is done",
        "{folder} needs {needed} more ({parts}) and {free} are free",
        "Enlarge that disk, make room on it, or set KEEP_LAST_STATES=1.",
    ),
    "disk.sizes_unknown": Text(
        "unknown",
        "Whether the weights fit on the disk is not known",
        "the hub did not say the sizes of {repos}",
        "See to the findings on the network, then look again.",
    ),
}

NETWORK: dict[str, Text] = {
    "network.no_dns": Text(
        "blocks",
        "Nothing can be fetched",
        "no name can be looked up ({hosts}), as in a pod with Global Networking, which has no public DNS",
        "Deploy the pod without Global Networking.",
    ),
    "network.no_name": Text(
        "blocks",
        "The bootstrap can't fetch {things}",
        "{hosts} can't be looked up",
        "Look at /etc/resolv.conf, or deploy the pod in another region.",
    ),
    "network.unreachable": Text(
        "blocks",
        "No weights can be fetched",
        "{host} does not answer ({error})",
        "Check the network and HF_ENDPOINT, or deploy the pod in another region.",
    ),
    "network.hub_down": Text(
        "blocks",
        "No weights can be fetched for now",
        "{host} answers with an error ({status})",
        "Wait some minutes and look again.",
    ),
    "network.rate": Text(
        "note",
        "Weights may come late",
        "{host} asks this address for fewer requests (429)",
        "Wait some minutes, and set HF_TOKEN for higher limits.",
    ),
    "network.offline": Text(
        "blocks",
        "No weights can be fetched",
        "HF_HUB_OFFLINE is set",
        "Unset HF_HUB_OFFLINE.",
    ),
    "network.token_refused": Text(
        "blocks",
        "The hub refuses every request",
        "HF_TOKEN is not valid, or not any more (401)",
        "Replace it by a read token of {endpoint}/settings/tokens, or unset it.",
    ),
    "network.token_odd": Text(
        "blocks",
        "The hub can't be asked",
        "HF_TOKEN or HF_ENDPOINT holds a character that can't be sent",
        "Copy it anew, without quotes, spaces and line ends.",
    ),
    "network.gated_no_token": Text(
        "blocks",
        "{repo} can't be fetched",
        "it is gated and HF_TOKEN is not set",
        "Ask for access at {endpoint}/{repo}, then set HF_TOKEN to a read token of that account.",
    ),
    "network.gated": Text(
        "blocks",
        "{repo} can't be fetched",
        "it is gated and the account of HF_TOKEN has no access yet",
        "Ask for access at {endpoint}/{repo}.",
    ),
    "network.forbidden": Text(
        "blocks",
        "{repo} can't be fetched",
        "HF_TOKEN may not read it ({status})",
        "Give the token read access to it at {endpoint}/settings/tokens.",
    ),
    "network.no_repo": Text(
        "blocks",
        "{repo} can't be fetched",
        "the hub does not have it, or does not show it ({status})",
        "Check HF_ENDPOINT, or set HF_TOKEN to a token that may read it.",
    ),
    "network.repo_odd": Text(
        "unknown",
        "Whether {repo} can be fetched is not known",
        "the hub answered {status}",
        "Wait some minutes and look again.",
    ),
    "network.clock": Text(
        "note",
        "Uploads and secure connections may be refused",
        "this machine's clock is {seconds} s {way}",
        "Set the clock, or deploy the pod on another host.",
    ),
}

PORTS: dict[str, Text] = {
    "ports.taken": Text(
        "note",
        "{service} can't start",
        "port {port} is held by {holder}",
        "End that program, or set {variable} to another port.",
    ),
    "ports.silent": Text(
        "note",
        "{service} can't be opened",
        "it was started, but nothing listens on port {port}",
        "Look at {log}.",
    ),
}

OUTPUT: dict[str, Text] = {
    "output.native": Text(
        "note",
        "ComfyUI loads nothing of {file}",
        "it has musubi-tuner's own keys",
        "Convert it anew with musabi convert.",
    ),
    "output.odd": Text(
        "note",
        "ComfyUI leaves parts of {file} out",
        "{count} of its {total} keys have another form, such as {key}",
        "Convert it anew with musabi convert.",
    ),
    "output.broken": Text(
        "note",
        "ComfyUI can't read {file}",
        "it is cut off or is no LoRA",
        "Delete it and convert it anew with musabi convert.",
    ),
}

SERVICES: dict[str, Text] = {
    "services.failed": Text(
        "note",
        "{service} is not there",
        "it failed when the pod started it",
        "Look at {log}.",
    ),
}

DOCTOR: dict[str, Text] = {
    "doctor.failed": Text(
        "unknown",
        "Nothing is known about {field}",
        "looking at it failed ({error})",
        "Look again; if it stays, report it with this line.",
    ),
    "doctor.late": Text(
        "unknown",
        "Nothing is known about {field}",
        "looking at it took longer than {seconds} s",
        "Look again when the machine has less to do.",
    ),
}

TEXTS: dict[str, Text] = GPU | KERNELS | CORES | DISK | NETWORK | PORTS | OUTPUT | SERVICES | DOCTOR
