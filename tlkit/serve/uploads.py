"""Uploads: pictures out of a plain body, or out of a form with files."""

from __future__ import annotations

from python_multipart.exceptions import FormParserError
from starlette.datastructures import UploadFile
from starlette.requests import Request

from tlkit.serve.refusal import Refusal
from tlkit.serve.service import Picture
from tlkit.text import printable

_MOST_NAME = 200


async def read_upload(request: Request, most: int) -> list[Picture]:
    """Return the pictures of a request, 1 or more.

    Args:
        request: Its body is a picture, whatever content type it has; or a form
            (``multipart/form-data``) with files under any names.
        most: Most files of a form.

    Raises:
        Refusal: 400 if there is none, or the form is malformed.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "multipart/form-data":
        body = await request.body()
        if not body:
            raise Refusal(400, "The body is empty; send a picture, such as: "
                               "curl --data-binary @cat.jpg ...")  # fmt: skip
        return [Picture("", body)]
    try:
        async with request.form(max_files=most, max_fields=most) as form:
            files = [item for _, item in form.multi_items() if isinstance(item, UploadFile)]
            found = [
                Picture(printable(item.filename or "", _MOST_NAME), await item.read())
                for item in files
            ]
    except FormParserError as err:  # which older releases of Starlette let through
        raise Refusal(400, printable(f"The form is malformed: {err}.", 300)) from err
    if not found:
        raise Refusal(400, "The form has no file; send pictures, such as: "
                           "curl -F file=@cat.jpg ...")  # fmt: skip
    return found
