defmodule Mix.Tasks.Crema.Check do
  @shortdoc "Says step by step what is wrong with a connection to Kafka"
  @moduledoc """
  Says step by step what is wrong with a connection to Kafka, and what to do about it.

      mix crema.check -b localhost:9092 -t orders -g billing
      mix crema.check --module MyApp.OrderHandler
      mix crema.check --config my_app:kafka -t orders

  ## Options

    * `-b`, `--bootstrap`: the brokers to ask first
    * `--env`: options from environment variables, `heroku` or what their names begin with
    * `-X PROPERTY=VALUE`: a property of librdkafka; a value like `@FILE` is what the file holds, and
      `$NAME` what that variable does
    * `-t`, `--topic`: a topic that is to be there; may be given several times
    * `-g`, `--group`: as a member of this group
    * `-w`, `--write`: send a message to each topic
    * `--deadline`: the milliseconds that it may take, 5000 unless given
    * `--module`: the options that a module's child would be started with
    * `--config APP:KEY`: options in the application's environment

  What comes later is over what came before. The exit status is 0 if nothing has failed.
  """
  use Mix.Task

  @requirements ["app.config"]

  @impl true
  def run([help]) when help in ["-h", "--help"], do: Mix.Task.rerun("help", ["crema.check"])

  def run(args) do
    style = if IO.ANSI.enabled?(), do: :colours, else: :plain
    {status, text} = :crema_check_command.run(args, style)
    IO.write(text)
    if status == 0, do: :ok, else: exit({:shutdown, status})
  end
end
