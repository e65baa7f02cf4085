"""The page that describes the interface, and its parts: nothing of it comes from another site.

The parts are those of swagger-ui-dist 5.35.0 on npm (Apache-2.0), unchanged; `swagger_ui/` has its licences.
"""

from pathlib import Path
from typing import Final

from fastapi import APIRouter
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import FileResponse, HTMLResponse

from serving.http.endpoints import DOCS, DOCS_SCRIPT, DOCS_STYLE, OPENAPI

FOLDER: Final = Path(__file__).with_name("swagger_ui")
_NO_ICON: Final = "data:,"

router = APIRouter(include_in_schema=False)


@router.get(DOCS.path)
async def docs() -> HTMLResponse:
    """The page."""
    return get_swagger_ui_html(
        openapi_url=OPENAPI.path,
        title="watchnext",
        swagger_js_url=DOCS_SCRIPT.path,
        swagger_css_url=DOCS_STYLE.path,
        swagger_favicon_url=_NO_ICON,
        swagger_ui_parameters={"validatorUrl": None},  # or the document's address goes to another site
    )


@router.get(DOCS_SCRIPT.path)
async def script() -> FileResponse:
    """Its script."""
    return FileResponse(FOLDER / "swagger-ui-bundle.js", media_type="text/javascript")


@router.get(DOCS_STYLE.path)
async def style() -> FileResponse:
    """Its style."""
    return FileResponse(FOLDER / "swagger-ui.css", media_type="text/css")
