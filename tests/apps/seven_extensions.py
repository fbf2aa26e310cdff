"""An ordinary app that leans on seven extensions at once, none of which knows of ASGI.

Flask-SQLAlchemy, Flask-Login, Flask-Session, Flask-WTF, Flask-Admin, Flask-Caching, Flask-RESTX.
"""

from __future__ import annotations

import asyncio
import itertools
from pathlib import Path
from typing import Any

from cachelib.file import FileSystemCache
from flask import Flask, abort, g, jsonify, render_template_string, request, session
from flask_admin import Admin
from flask_admin.contrib.sqla import ModelView
from flask_caching import Cache
from flask_login import (  # type: ignore[import-untyped]
    LoginManager,
    UserMixin,
    current_user,
    login_required,
    login_user,
    logout_user,
)
from flask_restx import Api, Resource, fields
from flask_session import Session
from flask_sqlalchemy import SQLAlchemy
from flask_wtf import FlaskForm
from sqlalchemy import Integer, NullPool, String, select
from sqlalchemy.orm import DeclarativeBase, mapped_column
from wtforms import StringField
from wtforms.validators import InputRequired, Length

from flask_concurrency import Concurrency

FORM = """<form method="post">{{ form.csrf_token }}{{ form.name() }}
{% for error in form.name.errors %}<p>{{ error }}</p>{% endfor %}</form>"""


class NameForm(FlaskForm):  # type: ignore[misc]
    """Who registers."""

    name = StringField(validators=[InputRequired(), Length(max=20)])


def make_app(directory: Path) -> Flask:
    """The app, with its files in ``directory`` and ``app.extensions["asgi"]`` for servers."""
    app = Flask("seven")
    app.testing = True
    app.config.update(
        SECRET_KEY="not a secret",
        SQLALCHEMY_DATABASE_URI=f"sqlite:///{directory / 'users.db'}",
        SESSION_TYPE="cachelib",
        SESSION_CACHELIB=FileSystemCache(str(directory / "sessions")),
        SQLALCHEMY_ENGINE_OPTIONS={"poolclass": NullPool},
        CACHE_TYPE="SimpleCache",
        RESTX_MASK_SWAGGER=False,
    )

    class Base(DeclarativeBase):
        """The tables of this app alone."""

    concurrency = Concurrency(app, default_limits="1000/minute")
    db = SQLAlchemy(app, model_class=Base)
    Session(app)
    cache = Cache(app)
    logins = LoginManager(app)
    computed = itertools.count(1)

    class User(UserMixin, db.Model):  # type: ignore[name-defined, misc]
        id = mapped_column(Integer, primary_key=True)
        name = mapped_column(String(20), unique=True)

    with app.app_context():
        db.create_all()

    @logins.user_loader
    def load_user(user_id: str) -> Any:
        return db.session.get(User, int(user_id))

    @app.before_request
    def note() -> None:
        g.noted = True

    def find(name: str) -> Any:
        return db.session.scalar(select(User).filter_by(name=name)) or abort(404)

    @app.route("/register", methods=["GET", "POST"])
    def register() -> Any:
        form = NameForm()
        if form.validate_on_submit():
            db.session.add(User(name=form.name.data))
            db.session.commit()
            return "registered", 201
        return render_template_string(FORM, form=form), 400 if form.errors else 200

    @app.route("/async-register", methods=["GET", "POST"])
    async def async_register() -> Any:
        await asyncio.sleep(0)
        return register()

    @app.post("/login/<name>")
    def login(name: str) -> str:
        login_user(find(name))
        return "in"

    @app.post("/async-login/<name>")
    async def async_login(name: str) -> str:
        await asyncio.sleep(0)
        return login(name)

    @app.post("/logout")
    def logout() -> str:
        logout_user()
        return "out"

    def whoami() -> Any:
        session["visits"] = session.get("visits", 0) + 1
        return jsonify(
            name=current_user.name, visits=session["visits"], noted=g.noted, key=app.name
        )

    app.add_url_rule("/me", view_func=login_required(whoami))

    @app.get("/async-me")
    @login_required
    async def async_me() -> Any:
        await asyncio.sleep(0)
        names = await concurrency.threads.run(
            lambda: [user.name for user in db.session.scalars(select(User))]
        )
        async with concurrency.task_group() as group:
            again = group.threads.submit(lambda: current_user.name)
        assert again.result() in names
        return whoami()

    everybody_is_here = asyncio.Event()
    here = itertools.count(1)

    @app.get("/interleaved/<int:number>/<int:among>")
    @login_required
    async def interleaved(number: int, among: int) -> Any:
        """What a request finds to be its own, again and again while the others run."""
        g.number = number
        session["number"] = number
        if next(here) == among:
            everybody_is_here.set()
        await everybody_is_here.wait()

        def own() -> list[Any]:
            return [current_user.name, number, request.view_args, session["number"]]

        found = [[*own(), g.number, id(db.session())]]
        async with concurrency.task_group() as group:
            in_thread = group.threads.submit(own)
            on_loop = group.loop.submit(asyncio.to_thread, own)
        found.append([*in_thread.result(), g.number, id(db.session())])
        found.append([*on_loop.result(), g.number, id(db.session())])
        return jsonify(found)

    @app.get("/cached")
    @cache.cached(timeout=3600)
    def cached() -> str:
        return f"computed {next(computed)}"

    @app.get("/async-cached")
    async def async_cached() -> str:
        await asyncio.sleep(0)
        value: str | None = cache.get("value")
        if value is None:
            value = f"computed {next(computed)}"
            cache.set("value", value)
        return value

    Admin(app, name="Seven").add_view(ModelView(User, db, endpoint="people"))

    api = Api(app, prefix="/api", doc=False)
    shape = api.model("User", {"name": fields.String(required=True, max_length=20)})

    @api.route("/users")
    class Users(Resource):  # type: ignore[misc]
        @api.marshal_list_with(shape)
        def get(self) -> Any:
            return db.session.scalars(select(User).order_by(User.id)).all()

        @api.expect(shape, validate=True)
        def post(self) -> Any:
            db.session.add(User(name=api.payload["name"]))
            db.session.commit()
            return {"name": api.payload["name"]}, 201

    app.extensions["asgi"] = concurrency.asgi_app(app)
    return app
