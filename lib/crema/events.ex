defmodule Crema.Events do
  @moduledoc """
  What happens inside producers and consumers, as events in the shape of telemetry: a name, such as
  `[:crema, :consumer, :assigned]`, measurements and metadata. The page "Events" lists them.

  An application that has telemetry attaches to them by `:telemetry.attach/4`, with the same names,
  and needs nothing of this module.

      test = self()

      :ok =
        Crema.Events.attach(
          "ready",
          [:crema, :client, :connected],
          fn _name, _measurements, metadata, _config -> send(test, {:connected, metadata.name}) end,
          nil
        )

      :ok = Crema.Events.detach("ready")
  """

  @typedoc "The name of an event."
  @type name :: nonempty_list(atom)

  @typedoc "Called in the process in which the event happens: it must be quick."
  @type handler ::
          (name, measurements :: map, metadata :: map, config :: term -> term)

  @doc """
  Calls the function for each of the named events from now on. One that raises is detached, with an
  error in the log.
  """
  @spec attach(id :: term, name | [name, ...], handler, config :: term) ::
          :ok | {:error, :already_exists | :not_started}
  def attach(id, names, function, config), do: :crema_events.attach(id, names, function, config)

  @doc "Ends a handler for all its events."
  @spec detach(id :: term) :: :ok | {:error, :not_found | :not_started}
  def detach(id), do: :crema_events.detach(id)

  @doc "The handlers attached here, one entry for each handler and event."
  @spec list_handlers() :: [:crema_events.handler()]
  def list_handlers, do: :crema_events.list_handlers()

  @doc "All events: name, meaning, and the fields of measurements and metadata."
  @spec table() :: [:crema_event_table.row()]
  def table, do: :crema_event_table.table()

  @doc """
  Writes events into the log from now on, as one line each.

    * `:events`, which ones; without it all but statistics and what crema logs anyway
    * `:level` (`:info`), the level of those that tell of nothing wrong
    * `:payloads` (`false`), whether what users' data may be in is written as well
  """
  @spec attach_logger(keyword | map) :: :ok | {:error, :already_exists | :not_started}
  def attach_logger(opts \\ []), do: opts |> Map.new() |> :crema_events_logger.attach()

  @doc "Ends that."
  @spec detach_logger() :: :ok | {:error, :not_found | :not_started}
  def detach_logger, do: :crema_events_logger.detach()
end
