"""A result stays on the volume, in a folder of its own that is not cleared away with the job."""

from musabi.hub.destination import FolderPlace
from musabi.hub.to_folder import send_to_folder
from musabi.serverless.delivery.way import Handover
from musabi.serverless.parts import Delivery

NAME = "volume"
FOLDER = "outputs"


def send(handover: Handover) -> Delivery:
    """Copy the files to outputs/JOB/ beside the jobs.

    Raises:
        MachineError: the disk has too little room.
        OSError: the folder can't be written.
    """
    context = handover.context
    target = context.places.root / FOLDER / handover.name
    context.tell("uploading", "Copying results to the volume")
    send_to_folder(handover.pieces, FolderPlace(target), context.say)
    alone = "This endpoint has no network volume: the files are on its own disk and go with it."
    return Delivery(
        download_method=NAME,
        network_volume_path=str(target),
        note=f"The files are in {target}.",
        files=tuple(one.name for one in handover.pieces),
        warnings=() if context.places.volume else (alone,),
    )
