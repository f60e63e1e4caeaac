"""The stages of the bootstrap, a module a concern, and which of them a profile has."""

from musabi.pod.bootstrap.stage import Stage
from musabi.pod.bootstrap.stages import diffusion_pipe
from musabi.pod.bootstrap.stages.accelerate import ACCELERATE
from musabi.pod.bootstrap.stages.clone import CLONE
from musabi.pod.bootstrap.stages.environment import ENVIRONMENT
from musabi.pod.bootstrap.stages.layout import LAYOUT, SCRIPTS, TEMPLATES
from musabi.pod.bootstrap.stages.link import LINK
from musabi.pod.bootstrap.stages.packages import PACKAGES
from musabi.pod.bootstrap.stages.verify import VERIFY
from musabi.pod.bootstrap.stages.weights import WEIGHTS

EVERYWHERE = (LAYOUT, SCRIPTS, TEMPLATES)
PROFILES: dict[str, tuple[Stage, ...]] = {
    "musubi": (*EVERYWHERE, ACCELERATE, CLONE, ENVIRONMENT, LINK, PACKAGES, VERIFY),
    "diffusers": EVERYWHERE,
    "diffusion_pipe": (LAYOUT, diffusion_pipe.CLONE, diffusion_pipe.ENVIRONMENT, diffusion_pipe.LINK),
    "weights": (LAYOUT,),
}


def stages_of(profile: str, weights: bool) -> tuple[Stage, ...]:
    """Return the stages of a profile, in an order in which each follows those that it needs."""
    return PROFILES[profile] + ((WEIGHTS,) if weights else ())
